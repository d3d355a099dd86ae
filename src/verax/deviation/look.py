"""Photo and generated picture brought together: registered, refined, and split into motions."""

from dataclasses import dataclass

import numpy as np

from verax.deviation.framing import base_matrix, size_of
from verax.deviation.motion import (
    Blocks,
    Global,
    Leftover,
    find_blocks,
    find_leftover,
    fit_global,
)
from verax.deviation.pair import Pair, pair, working_size
from verax.geometry.register import Registration, apply
from verax.image import Image

SEED = 0  # of the bootstrap: the same pictures give the same intervals


@dataclass(frozen=True, slots=True)
class Look:
    """All that the entries and the pictures are made from.

    Attributes:
        pair: photo and prior on the working grid, aligned as well as it goes.
        leftover: what registration left over.
        blocks: the photo's blocks in the generated picture.
        found: the global geometry, or why there is none.
    """

    pair: Pair
    leftover: Leftover
    blocks: Blocks
    found: Global | str


def look(photo: Image, generated: Image, registration: Registration, canvas: str) -> Look:
    """Register, refine by blocks, fit the global geometry, align."""
    size = size_of(photo)
    warped = apply(registration, generated, size=size)
    leftover = find_leftover(photo, warped, working_size(photo))
    base = base_matrix(photo, generated, canvas)
    blocks = find_blocks(size, leftover, registration, base)
    found = fit_global(blocks, size, np.random.default_rng(SEED))
    return Look(pair(photo, warped, leftover.smooth), leftover, blocks, found)
