"""Classical methods that need no weights: the baselines of the field, one function each, and the
parts of them that correct what a network estimates."""

import cv2
import numpy as np
from numpy.typing import NDArray

from verax.errors import InputError
from verax.image import Image, Plane, from_uint8, to_uint8
from verax.image.pixels import guided_filter, noise_response, ramp, to_linear, to_srgb

Float = NDArray[np.float32]

PRIOR_SHARE = 0.2  # weight of the dark channel prior against the network in dehazing
DOUBTED = 0.4  # the same where the network is unsure of the haze
# A thin veil in a room: white is white, but nothing is black. Least value of all pixels; severity;
# 98th percentile of the dark channel; the same over the 2nd, as haze grows with depth, with less
# needed at a higher severity; 99th percentile of the photo
NO_BLACK, SLIGHT, PALE = (0.03, 0.05), (0.25, 0.29), (0.88, 0.80)
VARIED, STRONGER, WHITEST = (3.2, 3.8), (0.40, 0.50), (0.86, 0.92)
GREYNESS = 0.6  # exponent of the gains of the grey world under water


def clip(picture: NDArray[np.floating]) -> Image:
    """The picture clipped to [0, 1]."""
    return np.asarray(np.clip(picture, 0, 1), np.float32)


def gamma(photo: Image) -> Image:
    """The photo, each value raised to the power of 0.4: the simplest brightening."""
    return np.asarray(photo**0.4, np.float32)


MOST_STOPS = 4  # of exposure


def expose(picture: Image, stops: float) -> Image:
    """The picture (sRGB from 0 to 1) made brighter by a number of photographic stops, or darker by
    a negative one.

    White stays white: linear light x becomes g x / (1 + (g - 1) x) with g = 2 ** stops."""
    if stops == 0:
        return picture
    gain = np.float32(2.0**stops)
    linear = to_linear(picture)
    return clip(to_srgb(gain * linear / (1 + (gain - 1) * linear)))


def check_exposure(stops: float) -> None:
    """Raises InputError if `stops` is not within -4 to 4."""
    if not abs(stops) <= MOST_STOPS:
        raise InputError(
            f"exposure: expected a number of stops from -{MOST_STOPS} to {MOST_STOPS}, got {stops}"
        )


def auto_levels(photo: Image) -> Image:
    """Each channel stretched linearly so that its 0.5 % and 99.5 % quantiles become 0 and 1."""
    low, high = np.quantile(photo, (0.005, 0.995), axis=(0, 1)).astype(np.float32)
    return clip((photo - low) / np.maximum(high - low, 1 / 255))


def clahe(photo: Image) -> Image:
    """Contrast-limited adaptive histogram equalisation of the lightness, 8x8 tiles.

    Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV, 1994.
    """
    lab = cv2.cvtColor(photo, cv2.COLOR_RGB2LAB)
    levels = np.rint(lab[..., 0] * (65535 / 100)).astype(np.uint16)
    equalised = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(levels)
    lab[..., 0] = equalised * np.float32(100 / 65535)
    return clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB))


def dcp(photo: Image) -> Image:
    """Dehazing by the dark channel prior; the transmission is refined by a guided filter.

    He, Sun, Tang, "Single image haze removal using dark channel prior" (2009), with its values:
    patch 15 (scaled with the picture), omega 0.95, floor of the transmission 0.1; refinement by
    "Guided image filtering" (2013), radius 60, eps 1e-3 on the grey photo."""
    airlight, transmission = dark_channel_veil(photo)
    return clip((photo - airlight) / transmission[..., None] + airlight)


def dark_channel_veil(photo: Image) -> tuple[Float, Plane]:
    """What the dark channel prior estimates of haze: the airlight (3,), red, green and blue in [0,
    1], and the transmission (H, W), from 0.1 (dense haze) to about 1 (none)."""
    scale = max(photo.shape[:2]) / 600
    patch = max(3, round(15 * scale))
    dark = dark_channel(photo, patch)
    brightest = dark >= np.quantile(dark, 0.999)
    airlight = np.maximum(photo[brightest].mean(0), 0.05).astype(np.float32)
    rough = 1 - np.float32(0.95) * dark_channel(np.minimum(photo / airlight, 1), patch)
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    transmission = np.maximum(guided_filter(grey, rough, max(4, round(60 * scale)), 1e-3), 0.1)
    return airlight, transmission


def with_dark_channel(transform: Float, small: Image, share: float = PRIOR_SHARE) -> Float:
    """The tone network's colour transform, averaged with the one that the dark channel prior gives.
    A transform (6, h, w), on a coarse grid over the whole photo, holds the natural log of a gain
    for red, green and blue, then an offset for each.

    `small` is the thumbnail (H, W, 3) of the photo, `share`, in [0, 1], the weight of the dark
    channel prior. If haze is uncertain, the network removes too little and the dark channel prior
    too much, so that their errors cancel. If haze is certain, the network alone is better."""
    airlight, transmission = dark_channel_veil(small)
    gain = 1 / cv2.resize(transmission, transform.shape[:0:-1], interpolation=cv2.INTER_AREA)
    mixed = np.empty_like(transform)
    mixed[:3] = np.log((1 - share) * np.exp(transform[:3]) + share * gain)
    veil = airlight[:, None, None] * (1 - gain)
    mixed[3:] = (1 - share) * transform[3:] + share * veil
    return mixed


def with_grey_world(transform: Float, small: Image) -> Float:
    """The tone network's colour transform, averaged (half and half) with the one that makes the
    mean of the photo's thumbnail `small` greyer, which restores red (grey-world assumption:
    Buchsbaum, "A spatial processor model for object colour perception", 1980). A transform (6, h,
    w), on a coarse grid over the whole photo, holds the natural log of a gain for red, green and
    blue, then an offset for each."""
    mean = np.maximum(small.mean((0, 1)), 0.02)
    gain = np.minimum((mean.mean() / mean) ** GREYNESS, 2.5).astype(np.float32)[:, None, None]
    mixed = 0.5 * transform
    mixed[:3] = np.log(0.5 * np.exp(transform[:3]) + 0.5 * gain)
    return mixed


def up_to_grey(transform: Float, small: Image) -> Float:
    """The colour transform limited so that no bluish or grey place of the photo's thumbnail `small`
    turns reddish: such a place is blue itself, not lit by blue light. A transform (6, h, w), on a
    coarse grid over the whole photo, holds the natural log of a gain for red, green and blue, then
    an offset for each."""
    before = cv2.resize(small, transform.shape[:0:-1], interpolation=cv2.INTER_AREA)
    after = np.moveaxis(before, 2, 0) * np.exp(transform[:3]) + transform[3:]
    most = np.maximum(after[1:].max(0), before[..., 0])
    less = np.log(np.clip(most / np.maximum(after[0], 1e-3), 1e-3, 1))
    less = cv2.GaussianBlur(less, (0, 0), 2.0)
    limited = transform.copy()
    limited[0] += less
    limited[3] *= np.exp(less)
    return limited


def dark_channel(picture: Image, patch: int) -> Plane:
    """The dark channel (H, W) of a picture (H, W, 3): the minimum over the channels and over a
    square of `patch` px a side around each pixel."""
    return np.asarray(cv2.erode(picture.min(2), np.ones((patch, patch), np.uint8)), np.float32)


def least_value(photo: Image) -> float:
    """The least value, in [0, 1], of any channel in a photo, except for the darkest 0.001 % of the
    pixels. Haze, which adds light everywhere, raises it above 0. A large photo is sampled at about
    a million pixels."""
    step = max(1, round((photo.shape[0] * photo.shape[1] / 1e6) ** 0.5))
    lowest = photo[::step, ::step].min(2).ravel()
    rank = lowest.size // 100_000
    return float(np.partition(lowest, rank)[rank])


def nowhere_black(photo: Image, small: Image, severity: float) -> float:
    """The certainty, in [0, 1], of thin haze in a room: white is white, but nothing is black.

    `small` is the thumbnail of the photo; `severity`, in [0, 1], that of haze by the tone network.
    Used only for photos without JPEG blocks, it takes four of 1,508 clean photos for hazy
    (docs/log.md)."""
    certainty = ramp(severity, *SLIGHT)
    if certainty == 0:
        return 0.0
    near, far = (float(v) for v in np.percentile(dark_channel(small, 9), (2, 98)))
    varied = far / max(near, 1e-3) + 0.4 * ramp(severity, *STRONGER)
    certainty *= ramp(far, *PALE) * ramp(varied, *VARIED)
    certainty *= ramp(float(np.percentile(small.max(2), 99)), *WHITEST)
    return certainty * ramp(least_value(photo), *NO_BLACK) if certainty else 0.0


def lime(photo: Image) -> Image:
    """Brightening by division through an illumination map.

    Guo, Li, Ling, "LIME: low-light image enhancement via illumination map estimation" (2017):
    the largest channel, smoothed while keeping its edges, to the power 0.8. Their weighted
    least-squares smoothing is replaced by a guided filter.
    """
    rough = photo.max(2)
    radius = max(4, max(photo.shape[:2]) // 40)
    light = np.clip(guided_filter(rough, rough, radius, 1e-3), rough, 1)
    return clip(photo / np.maximum(light, 1e-2)[..., None] ** np.float32(0.8))


def nlm(photo: Image) -> Image:
    """Non-local means, its strength set by the photo's noise.

    Buades, Coll, Morel, "A non-local algorithm for image denoising" (2005). The noise is the median
    response to the mask of Immerkaer, "Fast noise variance estimation" (1996)."""
    sigma = np.median(noise_response(photo)) * (255 / 0.6745)
    strength = float(0.9 * sigma)
    if strength < 0.5:
        return photo
    bgr = np.ascontiguousarray(to_uint8(photo)[..., ::-1])
    quiet = cv2.fastNlMeansDenoisingColored(bgr, None, strength, strength, 5, 11)
    return np.ascontiguousarray(from_uint8(quiet)[..., ::-1])


def guided_derain(photo: Image) -> Image:
    """The photo without rain streaks, which are detected by their shape; then a guided filter.

    Streaks are bright, colourless, thin and long. The darkest channel is opened along horizontal
    lines; what this removes is thin. Of that, openings along five near-vertical lines keep what is
    long; it is subtracted. The guided filter follows Xu et al., "Removing rain and snow in a single
    image using guided filter" (2012). Horizontal and dense streaks stay."""
    width = max(9, 2 * round(max(photo.shape[:2]) / 130) + 1)
    dark = photo.min(2)
    thin = dark - cv2.morphologyEx(dark, cv2.MORPH_OPEN, np.ones((1, width), np.uint8))
    lines = [line(width + 2, degrees) for degrees in (60, 75, 90, 105, 120)]
    long = np.max([cv2.morphologyEx(thin, cv2.MORPH_OPEN, one) for one in lines], axis=0)
    streaks = cv2.dilate(np.maximum(long - 0.01, 0), np.ones((1, 3), np.uint8))
    clear = clip(photo - streaks[..., None])
    guide = cv2.cvtColor(clear, cv2.COLOR_RGB2GRAY)
    smooth = [guided_filter(guide, channel, 3, 1e-3) for channel in cv2.split(clear)]
    return clip(np.dstack(smooth))


def line(length: int, degrees: float) -> NDArray[np.uint8]:
    """A structuring element (length, length), 1 on a line through its centre, else 0. The line is
    horizontal at 0 degrees and upright at 90; degrees count clockwise."""
    centre = length // 2
    dx = round(centre * np.cos(np.deg2rad(degrees)))
    dy = round(centre * np.sin(np.deg2rad(degrees)))
    element = np.zeros((length, length), np.uint8)
    cv2.line(element, (centre - dx, centre - dy), (centre + dx, centre + dy), 1)
    return element
