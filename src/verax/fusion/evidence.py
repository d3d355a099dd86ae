"""Local evidence: how well the prior explains the photo at each place of each octave.

An octave is a level of the Laplacian pyramid. At each place of it the photo's structure, without
its noise, is correlated with the prior's. Structure is confirmed if both pictures show it. If only
the prior shows it, it is plausible where the photo could not have shown it, else added. If only the
photo shows it, it is lost, or removed where it is known to have stood in front of the scene.

This module also measures the photo's noise, and removes it where a gain would make it visible."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.fusion.planes import Float, enlarge, halve, luma, rise, window_mean
from verax.geometry.register import WarpedPrior
from verax.image import Image, Plane
from verax.image.pixels import largest, noise_response, ramp

# a pair of values is a ramp: no effect at the first, full effect at the second
BLOCK = 8  # px, side of the blocks whose deviation is measured
QUIET, UNBIASED = 0.1, 1.08  # quantile over blocks, and the mean of pure noise over that quantile
LEVELS = 256  # entries of a table over luma
BINS = 12  # of luma
FEW = 8  # least blocks in a bin
VISIBLE = 0.012  # least visible noise deviation, 3 of 255 levels
RANGE, REACH = 5.0, 2.0  # bilateral filter: range in noise deviations, spatial sigma in px
COARSE = 4  # chroma is also smoothed on a grid this much coarser: its noise shows as blotches
COARSE_RANGE, COARSE_REACH = 2.0, 2.5
# a prior is the photo itself if the mean difference is below SAME and no place differs by SPECK:
# dust may be all that was removed
SAME, SPECK = 0.01, 0.08
MEAN = np.full((1, 3), 1 / 3, np.float32)  # averages three channels
NEIGHBOURS = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8)

Table = NDArray[np.float32]


def noise_table(image: Image, *, tiles: int = 64, tile: int = 64) -> Table:
    """The standard deviation of the noise of a picture (H, W, 3), mean over its channels, as a
    table (256,): one value for each of 256 evenly spaced lumas. Pixels, lumas and values are on the
    scale from 0 to 1.

    Method: the difference-of-Laplacians mask of Immerkaer, "Fast noise variance estimation" (1996),
    in blocks. For each range of luma the 10 % quantile of the blocks is used, since the others may
    hold texture. A large picture is sampled in at most `tiles` squares of `tile` px. In a picture
    with 8 bits the deviation is at least 1/255, for compression and rounding."""
    deviations, means = [], []
    parts = sample_tiles(image, tiles, tile)
    for part in parts:
        grey = cv2.transform(part, MEAN)
        high = cv2.transform(noise_response(part), MEAN) * np.sqrt(np.pi / 2)
        size = (max(1, grey.shape[1] // BLOCK), max(1, grey.shape[0] // BLOCK))
        deviations.append(cv2.resize(high, size, interpolation=cv2.INTER_AREA).ravel())
        means.append(cv2.resize(grey, size, interpolation=cv2.INTER_AREA).ravel())
    sigma, mean = np.concatenate(deviations), np.concatenate(means)
    centres = np.linspace(0, 1, BINS)
    members = [np.abs(mean - v) < centres[1] for v in centres]
    known = [k for k, near in enumerate(members) if near.sum() >= FEW]
    values = [np.quantile(sigma[members[k]], QUIET) * UNBIASED for k in known]
    if not known:  # the picture is too small for a table over luma
        known, values = [0], [np.quantile(sigma, QUIET) * UNBIASED]
    table = np.interp(np.linspace(0, 1, LEVELS), centres[known], values)
    least = 1 / 255 if all(has_8_bits(part) for part in parts) else 0.0
    return np.asarray(np.maximum(table, least), np.float32)


def has_8_bits(image: Image) -> bool:
    """Whether all values of a picture in [0, 1] are multiples of 1/255."""
    levels = image * 255
    return bool(np.abs(levels - np.rint(levels)).max() < 1e-3)


def sample_tiles(image: Image, tiles: int, tile: int) -> list[Image]:
    """At most `tiles` evenly spread squares of `tile` px a side from a picture or plane; if it is
    no larger than all of them, or less than 3 squares wide or high, a list of only itself."""
    height, width = image.shape[:2]
    if height * width <= tiles * tile * tile or min(height, width) < 3 * tile:
        return [image]
    side = int(np.sqrt(tiles))
    ys = np.linspace(0, height - tile, side).astype(int)
    xs = np.linspace(0, width - tile, side).astype(int)
    return [image[y : y + tile, x : x + tile] for y in ys for x in xs]


def look_up(table: Table, grey: Plane) -> Plane:
    """For every pixel of a luma plane (H, W) in [0, 1], the table's value for its luma. `table`
    (256,) holds values for evenly spaced lumas from 0 to 1."""
    return np.asarray(cv2.LUT((grey * (LEVELS - 1) + 0.5).astype(np.uint8), table), np.float32)


def excess(sigma: Plane, gain: Plane) -> Plane:
    """The share of each pixel's noise, (H, W) in [0, 1], that must be removed so that a gain does
    not make the noise visible.

    `sigma` (H, W): standard deviation of the noise before the gain, for pixels from 0 to 1. `gain`
    (H, W): the factor on each pixel. After the gain, the noise that remains is no stronger than
    before it, or at most 0.012 (3 of 255 levels)."""
    remaining = np.maximum(sigma, VISIBLE) / np.maximum(gain * sigma, 1e-9)
    return np.asarray(np.maximum(1 - remaining, 0), np.float32)


def denoise(image: Image, sigma: float) -> Image:
    """The picture (H, W, 3), in [0, 1], without noise of standard deviation `sigma` (same scale);
    edges are kept.

    Outliers are clipped to the range of their neighbours. Then a bilateral filter (Tomasi,
    Manduchi, 1998) is applied, whose range is 5 times `sigma`; then another one to the chroma, on a
    grid that is four times coarser."""
    low = cv2.erode(image, NEIGHBOURS, borderType=cv2.BORDER_REFLECT)
    high = cv2.dilate(image, NEIGHBOURS, borderType=cv2.BORDER_REFLECT)
    clean = cv2.min(cv2.max(image, low), high)
    calm = cv2.bilateralFilter(clean, -1, RANGE * sigma, REACH)
    calm = cv2.add(calm, chroma_blotches(calm, sigma), calm)
    return np.asarray(np.clip(calm, 0, 1, out=calm), np.float32)


def chroma_blotches(image: Image, sigma: float) -> Image:
    """The correction, to be added to a picture (H, W, 3) in [0, 1], that smooths its coarse chroma
    noise and leaves its luma as it is. `sigma`: standard deviation of the noise, same scale."""
    height, width = image.shape[:2]
    bottom, right = -height % COARSE, -width % COARSE
    padded = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    size = (padded.shape[1] // COARSE, padded.shape[0] // COARSE)
    coarse = cv2.resize(padded, size, interpolation=cv2.INTER_AREA)
    change = cv2.bilateralFilter(coarse, -1, COARSE_RANGE * sigma, COARSE_REACH) - coarse
    change -= cv2.cvtColor(change, cv2.COLOR_RGB2GRAY)[..., None]
    fine = cv2.resize(change, padded.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(fine[:height, :width], np.float32)


WHITE = (0.75, 0.33, 0.16, 0.08, 0.04, 0.02)  # deviation of unit white noise in each octave
ROUNDING = 0.0012  # deviation of 8-bit rounding in octave 0, halved from octave to octave
LARGEST = 0.08  # largest deviation that is taken for noise
SIMILAR = (0.3, 0.75)  # correlation of confirmed structure
ALIKE = (0.5, 0.9)  # correlation of structure that counts for the gain of a whole octave
NOISY = (2.5, 5.0)  # ratio of the photo's energy to the prior's in smooth places: noise
EVEN = (0.15, 0.35)  # lower over upper quartile of that energy: noise is even, structure is not
SEEN = (0.002, 0.004)  # deviation of such noise
FINE = 5  # number of octaves in which such noise is looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """How the lumas of photo and prior compare at each place of one octave (pyramid level): planes
    (h, w) of half the octave's resolution.

    Attributes:
        photo: local energy (mean square) of the photo's structure, without that of its noise.
        prior: local energy of the prior's structure, after any factor on its contrast.
        correlation: local correlation of the two structures, in [-1, 1].
        signal: share of the photo's energy that is structure, not noise, in [0, 1].
        confirmed: how certain it is that both show the same structure, in [0, 1]."""

    photo: Plane
    prior: Plane
    correlation: Plane
    signal: Plane
    confirmed: Plane


@dataclass(frozen=True, slots=True, kw_only=True)
class Octave:
    """Statistics of the lumas of photo and prior over the whole of one octave (pyramid level).
    Energy is the mean square, amplitude its root; pixels are from 0 to 1.

    Attributes:
        noise: energy of the photo's noise.
        noisy: certainty, in [0, 1], that noise which is not white, such as JPEG's, fills the
            octave.
        most: largest energy that such noise can have; anything stronger is texture.
        gain: the prior's amplitude divided by the photo's, where their structures agree; 1 if
            nowhere.
        confirmed: sum over all places of the amplitude of structure that photo and prior both show.
        structure: sum over all places of the amplitude of all structure of the photo."""

    noise: float
    noisy: float
    most: float
    gain: float
    confirmed: float
    structure: float


def band(copies: Sequence[Float], octave: int) -> Float:
    """One octave of a picture's Laplacian pyramid, of the size of `copies[octave]`; 0 is the
    finest. `copies` is its Gaussian pyramid, the full size first, each copy half the size of the
    one before, at least as far as `copies[octave + 1]`."""
    fine = copies[octave]
    return np.asarray(fine - enlarge(copies[octave + 1], fine.shape), np.float32)


def weigh(photo: Plane, prior: Plane, noise: float, contrast: Plane | None = None) -> Evidence:
    """Compare photo and prior, place by place, in one octave (pyramid level) of their lumas.

    `photo` and `prior` (H, W) are that octave. `noise` is the mean square of the photo's noise in
    it. `contrast` (h, w), at half the resolution, is a factor on the prior's amplitude; None: 1."""
    energy, other, shared = (
        window_mean(halve(np.asarray(cv2.multiply(one, two), np.float32)))
        for one, two in ((photo, photo), (prior, prior), (photo, prior))
    )
    if contrast is not None:
        other, shared = other * contrast**2, shared * contrast
    structure = np.maximum(energy - noise, 1e-9)
    correlation = np.clip(shared / np.sqrt(structure * other + 1e-12), -1, 1)
    signal = structure / (structure + noise)
    return Evidence(
        photo=structure,
        prior=other,
        correlation=correlation,
        signal=signal,
        confirmed=rise(correlation, *SIMILAR) * signal,
    )


def summarise(
    photo: Plane, prior: Plane, valid: Plane, white: float, octave: int, *, most: float = np.inf
) -> Octave:
    """The statistics of one octave (pyramid level) as a whole.

    The octave's noise is the larger of two estimates. One is the energy of white noise of deviation
    `white`, but at most the lower quartile of the energy that the prior does not explain. The
    other, for correlated noise such as JPEG's, counts if the photo has energy wherever the prior is
    smooth.

    Args:
        photo, prior: (H, W) this octave of their lumas, or some of its rows.
        valid: (H, W) 1 where the prior covers the photo, else 0.
        white: standard deviation of white noise in the photo at full size, pixels from 0 to 1.
        octave: the number of the octave, 0 for the finest.
        most: largest energy (mean square) that correlated noise can have; infinite: no limit."""
    rounding = ROUNDING**2 * 0.25**octave
    noise = (white * WHITE[min(octave, len(WHITE) - 1)]) ** 2
    visible = halve(valid) > 0.5
    if visible.sum() < 20:
        visible = np.ones_like(visible)
    raw = weigh(photo, prior, 0.0)
    # texture that fills the picture looks like noise, but the prior would confirm it
    unexplained = raw.photo * (1 - np.maximum(raw.correlation, 0) ** 2)
    noise = rounding + min(noise, float(np.quantile(unexplained[visible], 0.25)))
    energy, sure = _coloured_noise(raw, visible) if octave < FINE else (0.0, 0.0)
    sure *= min(1.0, most / max(energy, 1e-12))
    noise = max(noise, 1.2 * energy * sure)
    cleaned = weigh(photo, prior, noise)
    amplitude = np.sqrt(cleaned.photo) * visible
    alike = rise(cleaned.correlation, *ALIKE) * visible
    gain = float(np.sqrt((alike * cleaned.prior).sum() / ((alike * cleaned.photo).sum() + 1e-12)))
    return Octave(
        noise=noise,
        noisy=sure,
        most=most,
        gain=gain if alike.sum() > 1 else 1.0,
        confirmed=float((cleaned.confirmed * amplitude).sum()),
        structure=float(amplitude.sum()),
    )


def _coloured_noise(raw: Evidence, visible: NDArray[np.bool_]) -> tuple[float, float]:
    """Two numbers: the photo's median energy (mean square) in the quarter of the places where the
    prior is smoothest, and the certainty, in [0, 1], that this energy is noise, white or not.
    `raw`: a comparison of both that takes no noise into account. `visible` (h, w): where the prior
    covers the photo."""
    plain = visible & (raw.prior <= np.quantile(raw.prior[visible], 0.25))
    low, middle, high = (float(q) for q in np.quantile(raw.photo[plain], (0.25, 0.5, 0.75)))
    energy = float(np.median(raw.prior[plain]))
    sure = ramp(float(np.log(middle / (energy + 1e-7) + 1e-9)), *np.log(NOISY))
    return middle, sure * ramp(low / (high + 1e-12), *EVEN) * ramp(middle**0.5, *SEEN)


def white_noise(photo: Image) -> float:
    """Standard deviation of the white noise in the photo's luma, on the scale from 0 to 1: the 10 %
    quantile of the deviations in blocks of 8 px (method of Immerkaer, 1996), at most 0.08."""
    blocks = []
    for part in sample_tiles(photo, 64, 64):
        mask = noise_response(luma(part)) * np.float32(np.sqrt(np.pi / 2))
        size = (max(1, mask.shape[1] // 8), max(1, mask.shape[0] // 8))
        blocks.append(cv2.resize(mask, size, interpolation=cv2.INTER_AREA).ravel())
    return min(float(np.quantile(np.concatenate(blocks), 0.1)) * 1.08, LARGEST)


def faithful(octaves: Sequence[Octave]) -> float:
    """The share of the photo's structure, in [0, 1], that the prior shows, too. `octaves`:
    statistics of each octave (pyramid level), the finest first, which is mostly noise and does not
    count."""
    counted = octaves[1:] or octaves
    whole = sum(octave.structure for octave in counted)
    return sum(octave.confirmed for octave in counted) / max(whole, 1e-9)


def is_the_photo(photo: Image, warped: WarpedPrior) -> bool:
    """Whether the registered prior is the photo itself, unchanged, and so adds no information: the
    mean difference is below 0.01, and less than one pixel in 500 differs by 0.08."""
    step = max(2, max(photo.shape[:2]) // 1000)
    visible = warped.valid[::step, ::step] > 0.5
    if not visible.any():
        return False
    off = largest(np.abs(warped.pixels[::step, ::step] - photo[::step, ::step]))[visible]
    return float(off.mean()) < SAME and float(np.quantile(off, 0.998)) < SPECK
