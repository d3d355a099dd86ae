"""Fusion by network: the prior's tone on the photo, then the detail network on both.

The tone fit of `verax.fusion.tone` moves the photo's own pixels to the prior's tone; the detail
network sees the photo before and after, and takes away what hid its structure. No pixel of the
prior enters, so what the prior invented cannot either.
"""

from dataclasses import replace

from verax.fusion.fuse import Fusion, Recipe, carry_out, mix
from verax.geometry.register import Warped
from verax.image import Image
from verax.restorers import network


def carry_out_and_repair(
    recipe: Recipe, photo: Image, base: Image, warped: Warped, fidelity: float
) -> Fusion:
    """The photo under the recipe's tone, repaired; `recipe` was solved with the photo as base."""
    noisy = replace(recipe, noise_level=0.0)  # the network removes the noise itself
    toned, _ = carry_out(noisy, photo, warped, 1.0)
    repaired = network.repair_toned(photo, toned)
    pixels, trust = mix(base, repaired, warped.pixels, warped.valid, fidelity)
    return Fusion(pixels, trust, recipe.scene_state_change, recipe.notes)
