"""How well simulated damage, whose places are known, is found and filled.

    python benchmarks/damage.py FOLDER [--most N] [--seed N] [--side PX] [--restore]

FOLDER holds clean photos. The middle of each, at most --side px, gets holes, scratches and dust
at known places; its prior is simulated from the clean photo (other light and texture, a drift
below 0.2 %). Prints for each photo, and as means:

- the F1 score of the mask that is found with `--task old_photo`, with dust and without dust, and
  that of the mask found without this option;
- PSNR inside the true mask after filling it from the prior, by the two inpainting methods of OpenCV
  and by that of scikit-image, also for tape, a tear and a stain;
- whether damage is found in the clean photo without the option, in colour and in black and white.

With --restore, the damaged and the clean photo are restored with the prior, and PSNR outside the
mask is printed.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.restoration import inpaint_biharmonic

import verax
from verax import image as images
from verax.degrade import damage
from verax.image import Image
from verax.image.pixels import luma
from verax.prints.damage import find_damage
from verax.prints.holes import Mask, fill, relight
from verax.priors.simulated import ON_GRID, simulate

DRIFT = replace(ON_GRID, shift=(0.0007, 0.002), local=(0.0003, 0.0015))
Row = dict[str, float]


def crop(path: Path, side: int) -> Image:
    """The middle of a photo whose short side is reduced to `side` px, if it is longer."""
    pixels = images.read(path).pixels
    scale = min(1.0, side / min(pixels.shape[:2]))
    size = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    top, left = ((length - min(length, side)) // 2 for length in small.shape[:2])
    return np.ascontiguousarray(np.clip(small[top : top + side, left : left + side], 0, 1))


def f_score(mask: Mask, true: Mask) -> float:
    return 2 * float((mask & true).sum()) / max(1.0, float(mask.sum() + true.sum()))


def psnr(picture: Image, truth: Image, where: Mask) -> float:
    return float(-10 * np.log10(max(float(np.mean((picture - truth)[where] ** 2)), 1e-10)))


def fills(photo: Image, prior: Image, mask: Mask, truth: Image, *, small: bool) -> Row:
    """PSNR inside the mask for every way of filling it; the slowest only for a `small` photo."""
    levels, hole = images.to_uint8(photo), mask.astype(np.uint8)
    pictures: dict[str, NDArray[np.float32]] = {
        "prior": fill(photo, relight(photo, prior, ~mask), mask),
        "telea": images.from_uint8(cv2.inpaint(levels, hole, 3, cv2.INPAINT_TELEA)),
        "ns": images.from_uint8(cv2.inpaint(levels, hole, 3, cv2.INPAINT_NS)),
    }
    if small:
        filled = inpaint_biharmonic(photo, mask, channel_axis=2)
        pictures["biharmonic"] = np.asarray(filled, np.float32)
    return {name: psnr(picture, truth, mask) for name, picture in pictures.items()}


def worn(clean: Image, rng: np.random.Generator) -> tuple[Image, Mask]:
    """A photo under a strip of tape, with a torn corner and a stain, and the mask of all three."""
    height, width = clean.shape[:2]
    pixels, mask = clean.copy(), np.zeros((height, width), np.uint8)
    at, lean, wide = rng.uniform((0.2, -0.15, 0.06), (0.7, 0.15, 0.1)) * width
    strip = [[at, 0], [at + wide, 0], [at + wide + lean, height], [at + lean, height]]
    corner = [
        [0, height],
        [rng.uniform(0.1, 0.3) * width, height],
        [0, rng.uniform(0.7, 0.9) * height],
    ]
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radius = 0.06 * width * rng.uniform(0.7, 1.3, 24)
    middle = rng.uniform((0.2, 0.2), (0.8, 0.8)) * (width, height)
    stain = middle + np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None]
    for outline, colour, share in (
        (strip, (0.85, 0.75, 0.4), 0.5),
        (stain, (0.3, 0.2, 0.1), 0.7),
        (corner, (1.0, 1.0, 1.0), 1.0),
    ):
        own = np.zeros_like(mask)
        cv2.fillPoly(own, [np.asarray(outline, np.int32)], 1)
        blend = (1 - share) * pixels + share * np.float32(colour)
        pixels = np.where(own[..., None] > 0, blend, pixels)
        mask |= own
    return np.asarray(pixels, np.float32), mask > 0


def grey(picture: Image) -> Image:
    return np.repeat(luma(picture)[..., None], 3, axis=2)


def judge(clean: Image, seed: int, *, whole: bool) -> Row:
    harmed = damage(clean, np.random.default_rng(seed), holes=2, scratches=3, specks=10)
    photo = images.from_uint8(images.to_uint8(harmed.pixels))
    prior = simulate(clean, seed=7000 + seed, settings=DRIFT).prior
    everywhere = np.ones(clean.shape[:2], np.float32)
    undusted = damage(clean, np.random.default_rng(seed), holes=2, scratches=3, specks=0)
    holed = images.from_uint8(images.to_uint8(undusted.pixels))
    row = {
        "F known": f_score(find_damage(photo, prior, everywhere, known=True).mask, harmed.mask),
        "F no dust": f_score(find_damage(holed, prior, everywhere, known=True).mask, undusted.mask),
        "F unasked": f_score(find_damage(photo, prior, everywhere, colour=True).mask, harmed.mask),
        "clean found": float(find_damage(clean, prior, everywhere, colour=True).mask.any()),
        "clean grey found": float(find_damage(grey(clean), prior, everywhere).mask.any()),
        **fills(photo, prior, harmed.mask, clean, small=True),
    }
    torn, mask = worn(clean, np.random.default_rng(9000 + seed))
    row |= {
        f"{name}, worn": value
        for name, value in fills(torn, prior, mask, clean, small=False).items()
    }
    if whole:
        for name, picture in (("outside", photo), ("outside clean", clean)):
            result = verax.restore(picture, prior, task="old_photo").pixels
            row[name] = psnr(result, clean, ~harmed.mask)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--most", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="random seed of the first photo")
    parser.add_argument("--side", type=int, default=448)
    parser.add_argument("--restore", action="store_true")
    options = parser.parse_args()
    paths = sorted(p for p in options.folder.rglob("*") if p.suffix in (".jpg", ".png"))
    rows: list[Row] = []
    for seed, path in enumerate(paths[: options.most], options.seed):
        rows.append(judge(crop(path, options.side), seed, whole=options.restore))
        print(path.name, {name: round(value, 2) for name, value in rows[-1].items()}, flush=True)
    for name in rows[0]:
        values = [row[name] for row in rows]
        print(f"{name:14} mean {np.mean(values):6.2f}  median {np.median(values):6.2f}")


if __name__ == "__main__":
    main()
