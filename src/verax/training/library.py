"""Load the training data into memory: photos, pairs of photo and reference, and depth maps.

If a folder has a `manifest.csv` (columns task, dataset, split, input, target), its rows name the
pictures. In any other folder, all pictures are photos without degradation, for training. Rows with
the split "train" are for training, "val" for validation, all others for testing. A training photo
that equals a test picture, by its bytes or by perceptual hash, is an error.

Depth is also estimated from pairs of a hazy photo I and its clear reference J, by Koschmieder's
model I = J t + A (1 - t) with t = exp(-beta d). For each candidate of the airlight A, a local
least-squares fit gives the transmission t; the A whose fit is best is taken. Then -log t is the
depth d times an unknown factor beta. With it, haze of any density can be simulated on the clear
photo.
"""

import csv
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from verax import image as images
from verax.errors import SettingsError
from verax.image import Image, Plane

WINDOW = 9  # px of the local fit
AIRLIGHTS = np.arange(0.6, 1.005, 0.02)  # candidates; grey, as in the standard datasets
COARSE = 3  # only every third pixel is used to find the airlight
EXACT = 0.03  # largest rms residual of a pair that follows the model


@dataclass(frozen=True, slots=True)
class Veil:
    """An estimate of the haze in a photo.

    Attributes:
        transmission: (H, W) in (0, 1], 1 where there is no haze.
        airlight: grey value of the haze, in [0, 1].
        residual: root mean square difference between the photo and the model of haze.
    """

    transmission: Plane
    airlight: float
    residual: float

    @property
    def depth(self) -> Plane:
        """The optical depth, -log(transmission), (H, W): distance times an unknown constant."""
        return np.asarray(-np.log(self.transmission), np.float32)


def lift(photo: Image, reference: Image) -> Veil:
    """Estimate the haze in `photo` from the same photo without haze, `reference`, on its grid."""
    small = photo[::COARSE, ::COARSE], reference[::COARSE, ::COARSE]
    airlight = min(AIRLIGHTS, key=lambda a: _fit(*small, float(a)).residual)
    return _fit(photo, reference, float(airlight))


def _fit(photo: Image, reference: Image, airlight: float) -> Veil:
    veiled, clear = photo - airlight, reference - airlight
    both, alone = _local(veiled * clear), _local(clear * clear)
    transmission = np.clip((both + 1e-4) / (alone + 1e-4), 0.02, 1.0).astype(np.float32)
    left = veiled - transmission[..., None] * clear
    return Veil(transmission, airlight, float(np.sqrt(np.mean(left * left))))


def _local(products: NDArray[np.float32]) -> Plane:
    """The mean of `products` (H, W, 3) over the channels and a window of 9 x 9 px: (H, W)."""
    return np.asarray(cv2.blur(products.mean(2), (WINDOW, WINDOW)), np.float32)


Levels = NDArray[np.uint8]  # (H, W, 3)

PHOTO_TASKS = ("clean", "depth")
PAIR_TASKS = {
    "dehazing": "haze",
    "deraining": "rain",
    "desnowing": "snow",
    "lowlight": "lowlight",
    "denoising": "noise",
    "motion_deblur": "motion_blur",
    "defocus_deblur": "defocus_blur",
    "underwater": "underwater",
    "raindrop": "raindrop",
    "jpeg": "jpeg",
}
LONGEST = 1600  # px: larger photos are reduced, since all are held in memory
# of 256 bits of the perceptual hash; the same photo at half size as JPEG differs in at most 20, two
# different photos in 55 or more (200 photos compared with 150)
LOOKALIKE_BITS = 36


@dataclass(frozen=True, slots=True)
class Scene:
    """A photo (H, W, 3) without degradation, in 8-bit levels.

    Attributes:
        depth: (H, W) in metres, or in metres times an unknown constant; None if not known.
        name: the file's name.
    """

    photo: Levels
    depth: Plane | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """A degraded photo and its ground truth, `reference`, both (H, W, 3) in 8-bit levels.

    Attributes:
        task: kind of degradation, such as "haze".
        name: the photo's file name.
    """

    photo: Levels
    reference: Levels
    task: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Library:
    """All data of one training run.

    Attributes:
        scenes: photos without degradation, on which degradations are simulated.
        pairs: degraded photos with their references.
        sha256: hash over the hashes of all files, which identifies the data.
        licences: the licences that manifest.csv names.
    """

    scenes: list[Scene]
    pairs: list[Pair] = field(default_factory=list)
    sha256: str = ""
    licences: tuple[str, ...] = ()

    def with_depth(self) -> list[Scene]:
        return [scene for scene in self.scenes if scene.depth is not None]


@dataclass(frozen=True, slots=True)
class _Row:
    task: str
    split: str
    photo: Path | None
    reference: Path | None
    licence: str = ""


def load(folders: Iterable[Path | str], *, split: str = "train", shortest: int = 128) -> Library:
    """Load the pictures of these folders that belong to a split ("train", "val" or another).

    Raises SettingsError if a folder is missing, if no picture belongs to the split, if a side of a
    photo without degradation is shorter than `shortest` px, if a pair or a depth map does not fit,
    or if a training picture equals a test picture.
    """
    rows = [row for folder in folders for row in _rows(Path(folder))]
    selection = [row for row in rows if row.split == split]
    if not selection:
        raise SettingsError(
            f"data: expected photos of the split {split!r}, found none in "
            f"{', '.join(map(str, folders))}; name other folders, or add rows of that split to "
            "manifest.csv"
        )
    if split == "train":
        _refuse_leaks(selection, [row for row in rows if row.split not in ("train", "val")])
    scenes = [_scene(row) for row in selection if row.task in PHOTO_TASKS]
    pairs = [_pair(row) for row in selection if row.task in PAIR_TASKS and row.photo]
    scenes += [scene for pair in pairs if pair.task == "haze" for scene in _unveil(pair)]
    _refuse_small(scenes, shortest)
    licences = tuple(sorted({row.licence for row in selection if row.licence}))
    return Library(scenes, pairs, _digest(selection), licences)


def _rows(folder: Path) -> Iterator[_Row]:
    if not folder.is_dir():
        raise SettingsError(
            f"data: expected folders of photos, but {folder} is no folder; correct its path"
        )
    manifest = folder / "manifest.csv"
    if not manifest.is_file():
        for path in sorted(p for p in folder.rglob("*") if images.is_picture_name(p)):
            yield _Row("clean", "train", None, path)
        return
    with manifest.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            photo, target = (folder / row[k] if row[k] else None for k in ("input", "target"))
            yield _Row(row["task"], row["split"], photo, target, row.get("licence") or "")


def _scene(row: _Row) -> Scene:
    assert row.reference is not None
    levels = _levels(row.reference)
    depth_file = row.reference.parents[1] / "depth" / f"{row.reference.stem}.png"
    depth = _depth(depth_file, levels) if row.task == "depth" else None
    return Scene(levels, depth, row.reference.name)


def _pair(row: _Row) -> Pair:
    assert row.photo is not None
    assert row.reference is not None
    photo, reference = _levels(row.photo), _levels(row.reference)
    if photo.shape != reference.shape:
        raise SettingsError(
            f"data: expected a photo and a reference of the same size, got {row.photo.name} with "
            f"the shape {photo.shape} and its reference with {reference.shape}; crop them alike, "
            "or remove the row from manifest.csv"
        )
    return Pair(photo, reference, PAIR_TASKS[row.task], row.photo.name)


def _unveil(pair: Pair) -> Iterator[Scene]:
    """Yield the clear photo of a hazy pair, with depth estimated from its haze.

    Yields nothing if the hazy photo does not follow Koschmieder's model of haze.
    """
    veil = lift(images.from_uint8(pair.photo), images.from_uint8(pair.reference))
    if veil.residual < EXACT:
        yield Scene(pair.reference, veil.depth, pair.name)


def _levels(path: Path) -> Levels:
    pixels = images.read(path).pixels
    scale = LONGEST / max(pixels.shape[:2])
    if scale < 1:
        size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return images.to_uint8(pixels)


def _depth(path: Path, levels: Levels) -> Plane:
    millimetres = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if millimetres is None:
        raise SettingsError(
            f"data: expected a depth map (16-bit PNG in millimetres) at {path}, found none that "
            f"can be read; add it, or remove the row of {path.stem} from manifest.csv"
        )
    if millimetres.shape != levels.shape[:2]:
        height, width = levels.shape[:2]
        raise SettingsError(
            f"data: expected a depth map of one channel and the shape {(height, width)} of its "
            f"photo, got {path} with the shape {millimetres.shape}; resize it, or remove the row "
            f"of {path.stem} from manifest.csv"
        )
    return np.asarray(millimetres, np.float32) / np.float32(1000.0)


def _refuse_small(scenes: list[Scene], shortest: int) -> None:
    for scene in scenes:
        if min(scene.photo.shape[:2]) < shortest:
            height, width = scene.photo.shape[:2]
            raise SettingsError(
                f"data: {scene.name} is {width}x{height}, expected at least {shortest} px a side; "
                "remove it, or lower `crop` in the recipe"
            )


def _refuse_leaks(training: list[_Row], test: list[_Row]) -> None:
    kept_back = {p: look(p) for row in test for p in (row.photo, row.reference) if p}
    if not kept_back:
        return
    hashes = {_file_hash(p) for p in kept_back}
    looks, names = np.stack(list(kept_back.values())), list(kept_back)
    for path in (p for row in training for p in (row.photo, row.reference) if p):
        bits = np.count_nonzero(looks != look(path), axis=1)
        if _file_hash(path) in hashes or bits.min() <= LOOKALIKE_BITS:
            raise SettingsError(
                f"data: the training picture {path.name} equals the test picture "
                f"{names[int(bits.argmin())].name}, which would make tests worthless; remove the "
                "training picture from the folder or from manifest.csv"
            )


def look(path: Path) -> NDArray[np.bool_]:
    """The perceptual hash of a picture file, as 256 booleans.

    Each says whether a pixel of a grey thumbnail of 17x16 px is brighter than its left neighbour.
    """
    with PillowImage.open(path) as picture:
        grey = np.asarray(picture.convert("L"), np.float32)
    small = cv2.resize(grey, (17, 16), interpolation=cv2.INTER_AREA)
    return np.asarray(small[:, 1:] > small[:, :-1]).ravel()


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(rows: list[_Row]) -> str:
    files = sorted(p for row in rows for p in (row.photo, row.reference) if p)
    return hashlib.sha256("".join(_file_hash(p) for p in files).encode()).hexdigest()
