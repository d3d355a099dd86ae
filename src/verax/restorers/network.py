"""The base by the embedded networks: they remove rain, then correct light and colour, then detail.

`restore` does all of it. For fusion, `structure` and `lit_copy` give structure and light.
Only faults that were diagnosed are treated."""

import cv2
import numpy as np

from verax.image import Image, Plane
from verax.image.pixels import largest, ramp
from verax.restorers import measures
from verax.restorers.classical import (
    DOUBTED,
    PRIOR_SHARE,
    up_to_grey,
    with_dark_channel,
    with_grey_world,
)
from verax.restorers.faults import HAZY, SURE, SURELY, Faults, diagnose, green_cast
from verax.restorers.runtime import (
    Floats,
    Network,
    apply_network,
    apply_transform,
    embedded_network,
    look,
    remove_rain,
    repair,
    thumbnail,
)

# weights of the experts for dark photos, whose errors of exposure differ
DARK = {"dark": 0.8, "dusk": 0.2}
TONE_TASKS = ("haze", "lowlight", "underwater")  # faults of the whole photo

REDDENED = 0.02  # largest share of a photo that may turn red if signs of water are weak
REDDER = 0.03  # red minus the larger of the other channels in what counts as red
SHARES = (1.0, 0.7, 0.5, 0.35, 0.2)  # strengths of a transform, tried in turn against clipping
BRIGHT = (0.35, 0.75)  # local brightness up to which a dark photo is lifted in full, and not at all
TRIED = (1.0, 0.5)  # strengths of a transform, tried in turn until the result is sound
SHOWN = (1.0, 2.0)  # levels of noise after a transform at which it is removed, and fully
MOST = 0.75  # largest share of such noise that is removed; more would also remove texture
UNEVEN = 5.0  # `unevenness` of what was removed: camera noise 1 to 2, a facade 9
MUCH, PEAKED = 2.5, 5.5  # levels removed, and their kurtosis: noise 3 to 4.5, leaves, grass 6 to 9
NOISIER = 3.5  # levels of noise that a result may have more than the photo
LIKE = 0.6  # least correlation of its fine structure with the photo's
BURNT = 0.08  # largest share of the photo that brightening may clip in a channel
CLIPPED = 0.04  # largest share of the photo that a transform may turn black or white
EXPOSED = 0.48  # median over undegraded training photos of their mean brightness
OWN = 0.5  # weight, in logarithms, of the brightness that the experts chose against EXPOSED
GAINS = (0.6, 2.5)  # least and largest factor on the brightness that the experts chose
LAMP, LAMPS = 0.5, (0.0045, 0.008)  # value of a light; share of the photo, 0.004 in dark rooms
SPECKS = (0.0005, 0.002)  # share of lights in a black photo; with none it is just too dark
BLACK, BLACKISH, ALL_BLACK = 0.04, (0.25, 0.55), (0.75, 0.85)  # value of black, and shares of it
KEPT = 0.45  # share of its darkness that a night scene keeps
HEAVY = 32.0  # levels of noise that need a second pass
UNSURE = 0.42  # severity of haze below which the network removes too little of it
WET = 0.6  # least severity of a fault of light or colour that is treated in a rainy photo


def restore(photo: Image, faults: Faults | None = None) -> Image:
    """The base (H, W, 3): the photo restored by the embedded networks, without a prior. `faults`:
    what `diagnose` found, possibly changed by the user's task; None: `diagnose` is called."""
    suffers = faults or diagnose(photo)
    if suffers["rain"].certainty < SURE:
        return treat(photo, light(photo, suffers), suffers)
    dry = remove_rain(photo)
    now = diagnose(dry)  # without streaks a veil may become visible
    transform = light(dry, now)
    if max(now[task].severity for task in TONE_TASKS) < WET:
        transform = np.zeros_like(transform)  # remains of rain look like a thin veil
    return correct(dry, transform, now)


def treat(photo: Image, transform: Floats, faults: Faults) -> Image:
    """The photo after its colour transform (6, h, w), log gains and offsets, and denoising. If that
    loses structure or adds noise, the transform is applied at half strength; if that is still too
    much, not at all. If denoising alone removes texture, it is left out, too."""
    for share in TRIED if np.any(transform) else ():
        base = correct(photo, scale(transform, share), faults)
        if sound(photo, base):
            return base
    base = correct(photo, np.zeros_like(transform), faults)
    return photo if faults["jpeg"].certainty < SURE and removes_texture(photo, base) else base


def removes_texture(photo: Image, base: Image) -> bool:
    """Whether the base removed texture from the photo rather than noise: what it removed is either
    spread unevenly, or strong with many extreme values."""
    if base is photo:
        return False
    parts = measures.parts_of(photo), measures.parts_of(base)
    level, kurtosis = peakedness(*parts)
    return unevenness(*parts) > UNEVEN or (level > MUCH and kurtosis > PEAKED)


def sound(photo: Image, base: Image) -> bool:
    """Whether the base keeps the photo's structure (correlation above 0.6) and is hardly noisier
    (by at most 3.5 of 255 levels)."""
    before, after = measures.parts_of(photo), measures.parts_of(base)
    if measures.noise(after) - measures.noise(before) > NOISIER:
        return False
    return likeness(before, after) > LIKE


def likeness(before: list[Image], after: list[Image]) -> float:
    """Correlation, in [-1, 1], of detail of 1 to 4 px between tiles of a photo, `before`, and of
    its base, `after`: a mean over all places, weighted by the amplitude of detail; 1 if none."""
    agreement = weight = 0.0
    for photo, base in zip(before, after, strict=True):
        own, other = _structure(photo), _structure(base)
        energy, there = (cv2.GaussianBlur(x * x, (0, 0), 6.0) for x in (own, other))
        shared = cv2.GaussianBlur(own * other, (0, 0), 6.0) / np.sqrt(energy * there + 1e-10)
        agreement += float((shared * np.sqrt(energy)).sum())
        weight += float(np.sqrt(energy).sum())
    return agreement / weight if weight > 1e-3 else 1.0


def unevenness(before: list[Image], after: list[Image]) -> float:
    """How unevenly the change from tiles of a photo, `before`, to those of its base, `after`, is
    spread: mean of its squared local energy divided by the square of the mean; 1 if even."""
    energies = [
        cv2.GaussianBlur(np.square((photo - base).mean(2)), (0, 0), 5.0).ravel()
        for photo, base in zip(before, after, strict=True)
    ]
    energy = np.concatenate(energies)
    return float(np.mean(energy * energy) / max(float(energy.mean()) ** 2, 1e-20))


def peakedness(before: list[Image], after: list[Image]) -> tuple[float, float]:
    """The change of grey from tiles of a photo, `before`, to those of its base, `after`: its rms,
    in levels of 255, and its kurtosis, which is 3 for Gaussian noise."""
    changes = [(photo - base).mean(2).ravel() for photo, base in zip(before, after, strict=True)]
    square = np.square(np.concatenate(changes))
    mean = float(square.mean())
    return 255 * mean**0.5, float(np.mean(square * square)) / max(mean * mean, 1e-20)


def _structure(part: Image) -> Plane:
    grey = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)
    fine, coarse = (cv2.GaussianBlur(grey, (0, 0), px) for px in (1.0, 4.0))
    return np.asarray(fine - coarse, np.float32)


def by_network(photo: Image, net: Network) -> Image:
    """The base by one network of Verax, which is applied whatever the photo's faults are."""
    if net.kind == "tone":
        return apply_transform(photo, look(thumbnail(photo, net.multiple), net)[0])
    return repair(photo, photo, net)


def correct(photo: Image, transform: Floats, faults: Faults) -> Image:
    """The photo after its colour transform (6, h, w), which holds log gains and offsets, and after
    denoising, if `faults` names noise or JPEG blocks or the transform made noise visible."""
    share = max(faults[kind].certainty for kind in ("noise", "jpeg"))
    share, bright = share if share >= SURE else 0.0, photo
    if np.any(transform):
        bright = apply_transform(photo, transform)
        share = max(share, MOST * ramp(measures.noise(measures.parts_of(bright)), *SHOWN))
    if share == 0:
        return bright
    if bright is photo:
        clean = apply_network(photo, "detail", share=share)
    else:
        clean = repair(photo, bright, embedded_network("detail"), share=share)
    return clean if faults.measures.sigma < HEAVY else apply_network(clean, "detail")


def light(photo: Image, faults: Faults) -> Floats:
    """The colour transform (6, h, w), three log gains, then three offsets, that corrects light and
    colour; all 0 if nothing is to be corrected. It is the tone network's or, for a dark photo, a
    mean of two networks for darkness. It is weaker if uncertain, or if it would make places black
    or white."""
    worst = max(TONE_TASKS, key=lambda task: (faults[task].certainty, faults[task].severity))
    certainty = faults[worst].certainty
    if certainty < SURE:
        return np.zeros_like(faults.transform)
    transform, small = faults.transform, thumbnail(photo, embedded_network("tone").multiple)
    reddened = 1.0
    if worst == "lowlight":
        looks = [word * look(small, embedded_network(name))[0] for name, word in DARK.items()]
        transform = adjust_exposure(np.sum(looks, 0), small)
        certainty *= 1 - KEPT * night(small)
    elif worst == "haze":
        uncertain = faults[worst].severity < (HAZY[0] if faults.named == worst else UNSURE)
        uncertain |= faults["snow"].certainty >= SURE  # flakes pass for clear air
        transform = with_dark_channel(transform, small, DOUBTED if uncertain else PRIOR_SHARE)
    else:
        transform = with_grey_world(transform, small)
        if faults.named != worst:  # blue water without a green cast only gets worse
            depth = ramp(faults[worst].severity, *SURELY)
            certainty = min(certainty, max(green_cast(faults.measures), depth))
            reddened = REDDENED if depth < SURE else 1.0
    part = soften(transform, small, certainty, reddened=reddened)
    return up_to_grey(part, small) if worst == "underwater" else part


def night(small: Image) -> float:
    """The certainty, in [0, 1], that a dark photo shows a night scene, not a dim room: it has
    lights and much black, or is black but for a few lights. `small` is its thumbnail."""
    value = largest(small)
    lamps, black = float(np.mean(value > LAMP)), float(np.mean(value < BLACK))
    street = ramp(lamps, *LAMPS) * ramp(black, *BLACKISH)
    return max(street, ramp(lamps, *SPECKS) * ramp(black, *ALL_BLACK))


def adjust_exposure(transform: Floats, small: Image) -> Floats:
    """The colour transform (6, h, w), log gains and offsets, changed so that the result comes
    closer to the brightness of most photos (mean 0.48), since a dark photo does not show how bright
    its scene was. Bright parts of `small`, the photo's thumbnail, are hardly brightened."""
    lit = apply_transform(small, transform)
    mean = max(float(lit.mean()), 0.02)
    wish = float(np.clip((EXPOSED / mean) ** (1 - OWN), *GAINS))
    power = np.full(transform.shape[1:], np.log(wish), np.float32)
    if wish > 1:
        power *= room(lit, transform.shape[:0:-1])
        for _ in range(3):  # parts that are not lifted are made up for by the others
            left = wish * mean / float(apply_transform(small, brighten(transform, power)).mean())
            power *= np.float32(np.clip(1 + np.log(left) / np.log(wish), 0.7, 1.5))
    for share in SHARES:
        brighter = brighten(transform, np.float32(share) * power)
        if burnt_share(apply_transform(small, brighter)) - burnt_share(lit) < BURNT:
            return brighter
    return transform


def room(picture: Image, size: tuple[int, ...]) -> Floats:
    """How far each place of a picture (H, W, 3) may be brightened, (h, w): from 1 in dark parts to
    0 in bright ones. `size`: (width, height) of the result."""
    near = cv2.resize(largest(picture), size, interpolation=cv2.INTER_AREA)
    near = cv2.GaussianBlur(near, (0, 0), 4)
    return np.asarray(np.clip((BRIGHT[1] - near) / (BRIGHT[1] - BRIGHT[0]), 0, 1), np.float32)


def brighten(transform: Floats, power: Floats) -> Floats:
    """The colour transform (6, h, w), log gains and offsets, followed by a gain of exp(power).
    `power` is (h, w) or a number."""
    gain = np.exp(power)
    return np.concatenate([transform[:3] + power, transform[3:] * gain])


def soften(transform: Floats, small: Image, certainty: float, *, reddened: float = 1.0) -> Floats:
    """The colour transform (6, h, w) at the largest strength that does no harm to `small`, the
    photo's thumbnail: less than 4 % of its pixels become black or white, and at most the share
    `reddened` (1: any) changes from bluish or grey to red. Strengths from `certainty`, in [0, 1],
    down to a fifth of it are tried; if all do harm, the result is all 0, no change."""
    for share in SHARES:
        part = scale(transform, share * certainty)
        result = apply_transform(small, part)
        clipped = measures.extremes(result) - measures.extremes(small)
        if clipped < CLIPPED and _reddened_share(small, result) <= reddened:
            return part
    return np.zeros_like(transform)


def _reddened_share(before: Image, after: Image) -> float:
    """The share, in [0, 1], of a picture that was bluish or grey `before` and is red `after`."""
    redness = (picture[..., 0] - picture[..., 1:].max(2) for picture in (before, after))
    return float(np.mean((next(redness) <= 0) & (next(redness) > REDDER)))


def burnt_share(picture: Image) -> float:
    """The share, in [0, 1], of a picture's pixels with a channel above 253/255."""
    return float(np.mean(largest(picture) > 253 / 255))


def scale(transform: Floats, strength: float) -> Floats:
    """The colour transform (6, h, w), log gains and offsets, at a strength in [0, 1]; 0: no
    change."""
    part = np.float32(strength) * transform
    part[:3] = np.log1p(np.float32(strength) * np.expm1(transform[:3]))
    return part


SIDE = 256  # px: long side of the copy by `lit_copy`
SPOILT = ("noise", "jpeg", "rain")  # faults of structure that the networks mend


def structure(photo: Image, faults: Faults) -> Image:
    """The photo (H, W, 3) without rain streaks, noise and JPEG blocks, its light unchanged; the
    photo itself if it has none of them."""
    if max(faults[kind].certainty for kind in SPOILT) < SURE:
        return photo
    dry = remove_rain(photo) if faults["rain"].certainty >= SURE else photo
    clean = apply_network(dry, "detail")
    only_noise = max(faults[kind].certainty for kind in ("rain", "jpeg")) < SURE
    return photo if only_noise and removes_texture(photo, clean) else clean


def lit_copy(photo: Image, faults: Faults) -> Image | None:
    """A copy (h, w, 3) of the photo, at most 256 px a side, in the light that the networks would
    give it; None if they would not change the light, or rain hides it."""
    certainty = max(faults[task].certainty for task in TONE_TASKS)
    if certainty < SURE or faults["rain"].certainty >= SURE:
        return None
    scale = min(1.0, SIDE / max(photo.shape[:2]))
    size = (max(1, round(photo.shape[1] * scale)), max(1, round(photo.shape[0] * scale)))
    small = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.float32)
    transform = light(photo, faults)
    return apply_transform(small, transform) if np.any(transform) else None
