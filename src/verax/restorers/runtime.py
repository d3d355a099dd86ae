"""Runs the embedded networks with ONNX Runtime.

The tone network, and its experts for dark photos, take the whole photo as a thumbnail and return a
smooth colour transform. The rain and detail networks take overlapping tiles of one size, so memory
does not grow with the photo; they use no pooled statistics, so tiles and the whole photo agree."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from verax import weights
from verax.errors import SettingsError
from verax.image import Image, Plane
from verax.image.pixels import ramp

Floats = NDArray[np.float32]

TILE = 576  # px, largest side of a tile
OVERLAP = 32  # px cut from each inner side of a tile
GRID = 16  # px: the networks read their input in blocks, which tiles must not shift
# order of the estimated severities
TASKS = (
    "haze", "rain", "snow", "lowlight", "noise", "jpeg", "motion_blur", "defocus_blur",
    "underwater", "raindrop",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a network, a U-Net. `unshuffle`: side, in px, of the squares that are folded into
    channels at its input. `widths`: channels at each scale, the finest first. `blocks`: number of
    blocks at each scale of encoder and decoder; `middle`: at the coarsest scale. `normed`: blocks
    normalise each pixel over its channels, which is more stable but a fifth slower."""

    unshuffle: int = 2
    widths: tuple[int, ...] = (32, 64, 128)
    blocks: int = 2
    middle: int = 4
    normed: bool = True

    @property
    def multiple(self) -> int:
        """The sides of an input must be multiples of this number of px."""
        return int(self.unshuffle * 2 ** (len(self.widths) - 1))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


DETAIL = Shape()
TONE = Shape(unshuffle=4, widths=(32, 64, 96), blocks=2, middle=3, normed=False)


def tiles(
    height: int, width: int, *, tile: int = TILE, overlap: int = OVERLAP
) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """For each tile of a picture (height, width) the slices (rows, columns) to read, and those to
    keep, all counted in the whole picture. The kept parts cover the picture exactly once. `tile`:
    largest side to read, px. `overlap`: px that are read but not kept at each inner side."""
    for top in _spans(height, tile, overlap):
        for left in _spans(width, tile, overlap):
            yield (top[0], left[0]), (top[1], left[1])


def _spans(length: int, tile: int, overlap: int) -> list[tuple[slice, slice]]:
    """For each tile along a side of `length` px the slice to read and the slice to keep. Tiles have
    about equal lengths, at most `tile` px, and start at multiples of 16 px."""
    if length <= tile:
        return [(slice(0, length), slice(0, length))]
    count = math.ceil((length - 2 * overlap) / (tile - 2 * overlap))
    tile = _on_grid(math.ceil((length + 2 * overlap * (count - 1)) / count))
    last = _on_grid(length - tile)
    starts = [min(k * (tile - 2 * overlap), last) for k in range(count)]
    edges = [0, *(start + overlap for start in starts[1:]), length]
    return [
        (slice(start, min(start + tile, length)), slice(edges[k], edges[k + 1]))
        for k, start in enumerate(starts)
    ]


def _on_grid(length: int) -> int:
    return -(-length // GRID) * GRID


def inside(outer: tuple[slice, slice], inner: tuple[slice, slice]) -> tuple[slice, ...]:
    """The kept part `inner` of a tile as slices of the part that was read, `outer`."""
    pairs = zip(inner, outer, strict=True)
    return tuple(slice(i.start - o.start, i.stop - o.start) for i, o in pairs)


def pad(inputs: Floats, multiple: int) -> Floats:
    """Planes (C, H, W) as a batch (1, C, H', W'): mirrored until both sides are multiples of
    `multiple`."""
    height, width = inputs.shape[1:]
    if height % multiple == width % multiple == 0:
        return np.ascontiguousarray(inputs[None])
    rows, columns = (_mirror_indices(length, multiple) for length in (height, width))
    return np.ascontiguousarray(inputs[None, :, rows][..., columns])


def _mirror_indices(length: int, multiple: int) -> NDArray[np.intp]:
    """Indices 0 to length - 1, back to 0, and so on; in all, a multiple of `multiple`."""
    there = np.arange(length)
    there_and_back = np.concatenate([there, there[::-1]])
    return np.resize(there_and_back, length + -length % multiple).astype(np.intp)


# version of each kind's inputs and outputs; raised when code that uses them must change
CONTRACTS = {"tone": "2", "detail": "2", "judge": "2"}
KINDS = {"dark": "tone", "dusk": "tone", "rain": "detail"}  # architecture of the other networks
THUMBNAIL_PIXELS = 192 * 256
FEW_PIXELS = 200_000  # of a photo that is restored as its four mirror images, too
WAYS = ((1, 1), (1, -1), (-1, 1), (-1, -1))
THICK, GAPS = (0.15, 0.19), (0.10, 0.05)  # mean of a layer of rain; 2nd percentile over its mean
STREAK_PX = 15  # in windows of this size some place is between streaks
UNCLIPPED = 0.985  # value up to which the light that was added is known
GLANCE = 288  # px: of the parts at which a network of tiles looks for its task
CENTRE = (0.5, 0.5)


@dataclass(frozen=True, slots=True)
class Network:
    """A loaded network: `kind` is "tone", "detail" or "judge" (the classifier of faults). The sides
    of its input are multiples of `multiple`; `tasks` names the severities that it returns."""

    session: Any
    kind: str
    multiple: int
    tasks: tuple[str, ...]

    def __call__(self, **inputs: Floats) -> list[Floats]:
        """The outputs for inputs by name: `input` (1, C, H, W), or for the classifier `facts`,
        `parts` and `whole`. Outputs of tone: colour transform, severities; of detail: change,
        gates, severities."""
        return [np.asarray(output) for output in self.session.run(None, inputs)]


@lru_cache(maxsize=8)
def open_network(path: Path, kind: str | None = None) -> Network:
    """Load a network file that `verax export` wrote, of kind "tone" or "detail" (None: either).
    Raises SettingsError for any other file. Kind "judge" is the embedded classifier of faults."""
    try:
        session = weights.session(path)
    except Exception as exc:  # the runtime's own exceptions have no common base
        raise SettingsError(
            f"{path}: expected a network of `verax export`; choose another file ({exc})"
        ) from exc
    facts = session.get_modelmeta().custom_metadata_map
    its, contract = facts.get("verax.network"), facts.get("verax.contract")
    right = kind or (None if its == "judge" else its)  # the classifier restores nothing
    if its != right or its not in CONTRACTS or contract != CONTRACTS[its]:
        got = f"{its!r} in version {contract!r}" if its else "a file that is not from Verax"
        raise SettingsError(
            f"{path}: expected a {kind or 'tone or detail'} network in file version "
            f"{CONTRACTS.get(str(right), '2')}, got {got}; export its checkpoint again with "
            "`verax export`, or choose another file"
        )
    tasks = tuple(json.loads(facts["verax.tasks"]))
    return Network(session, its, int(facts["verax.multiple"]), tasks)


def embedded_network(name: str) -> Network:
    """An embedded network, loaded once: "tone"; "dark", "dusk" (both for the tone of dark photos);
    "detail"; "rain"; or "judge" (the classifier of faults)."""
    return open_network(weights.path(name), KINDS.get(name, name))


def thumbnail(photo: Image, multiple: int) -> Image:
    """The photo resized to about 49,000 px in all, its sides multiples of `multiple`."""
    height, width = photo.shape[:2]
    scale = math.sqrt(THUMBNAIL_PIXELS / (height * width))
    size = (max(multiple, round(s * scale / multiple) * multiple) for s in (width, height))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = cv2.resize(photo, tuple(size), interpolation=method)
    return np.asarray(np.clip(small, 0.0, 1.0), np.float32)


def look(small: Image, tone: Network) -> tuple[Floats, Floats, Floats]:
    """A tone network's outputs for a thumbnail: colour transform (6, h, w), log gains and offsets;
    severity in [0, 1] of each of its tasks; features (n,), (0,) if it has none."""
    transform, severities, *features = (output[0] for output in tone(input=planes(small)[None]))
    return transform, severities, features[0] if features else np.zeros(0, np.float32)


def part_at(photo: Image, px: int, place: tuple[float, float]) -> Image:
    """A part of the photo of at most `px` a side. `place` (y, x) in [0, 1]: (0, 0) is the part in
    the top left corner, (1, 1) that in the bottom right one."""
    top, left = (
        round((length - min(px, length)) * share)
        for length, share in zip(photo.shape[:2], place, strict=True)
    )
    return photo[top : top + px, left : left + px]


def look_at(
    photo: Image, name: str, place: tuple[float, float] = CENTRE
) -> tuple[dict[str, float], Image]:
    """What the tile network `name` says of one part of the photo, of at most 288 px a side: the
    severity in [0, 1] of each task, by name, and the change (h, w, 3) to be added to the part.
    `place` (y, x) in [0, 1]: where the part lies, from the top left to the bottom right."""
    net, part = embedded_network(name), part_at(photo, GLANCE, place)
    residual, _, severities = net(input=pad(detail_inputs(part, part), net.multiple))
    change = np.moveaxis(residual[0], 0, 2)[: part.shape[0], : part.shape[1]]
    return dict(zip(net.tasks, map(float, severities[0]), strict=True)), change


def apply_transform(photo: Image, transform: Floats) -> Image:
    """The photo after a colour transform, clipped to [0, 1]. `transform` (6, h, w) holds the logs
    of three gains, then three offsets, one of each for every channel, on a coarse grid that is
    interpolated to every pixel."""
    nodes = _enlarge(transform, photo.shape[0], axis=1)
    nodes = _enlarge(nodes, photo.shape[1], axis=2)
    out = photo * cv2.merge(list(cv2.exp(nodes[:3])))
    out += cv2.merge(list(nodes[3:]))
    return np.asarray(np.clip(out, 0.0, 1.0), np.float32)


def repair(
    photo: Image, bright: Image, detail: Network, *, tile: int = TILE, share: float = 1.0
) -> Image:
    """`bright`, the photo with corrected light, after the network `detail`, tile by tile. The
    network also sees `photo`, as it was before. `share`, in [0, 1], scales the network's change."""
    out = np.empty_like(photo)
    for outer, inner in tiles(photo.shape[0], photo.shape[1], tile=tile):
        part = bright[outer]
        inputs = pad(detail_inputs(photo[outer], part), detail.multiple)
        residual = np.moveaxis(detail(input=inputs)[0][0], 0, 2)
        restored = part + np.float32(share) * residual[: part.shape[0], : part.shape[1]]
        out[inner] = np.clip(restored[inside(outer, inner)], 0.0, 1.0)
    return out


def apply_network(photo: Image, name: str, *, share: float = 1.0) -> Image:
    """The photo after the tile network `name`, "detail" or "rain". `share`, in [0, 1], scales its
    change. For a small photo it is the mean over four mirror images, which gains 0.1 to 0.2 dB."""
    net, results = embedded_network(name), []
    for ways in WAYS if photo.shape[0] * photo.shape[1] <= FEW_PIXELS else WAYS[:1]:
        turned = np.ascontiguousarray(photo[:: ways[0], :: ways[1]])
        results.append(repair(turned, turned, net, share=share)[:: ways[0], :: ways[1]])
    return np.mean(results, axis=0, dtype=np.float32) if len(results) > 1 else results[0]


def remove_rain(photo: Image) -> Image:
    """The photo without rain streaks. The rain network's result is corrected twice: streaks have no
    colour, so half of the colour that was removed is added again where nothing is clipped; what was
    removed between streaks is added again, too."""
    dry = apply_network(photo, "rain")
    layer, known = photo - dry, (photo < UNCLIPPED).astype(np.float32)
    grey = (layer * known).sum(2, keepdims=True) / np.maximum(known.sum(2, keepdims=True), 1)
    dry += 0.5 * known * (layer - grey) + _between(photo - dry)[..., None]
    return np.asarray(np.clip(dry, 0, 1), np.float32)


def _between(layer: Image) -> Plane:
    """How much of a removed layer (H, W, 3) is not a streak but lies between streaks, (H, W): its
    local minimum if rain is heavy and has gaps; 0 for fine rain, which has no gaps."""
    luma = np.ascontiguousarray(layer.mean(2))
    mean = max(float(luma.mean()), 1e-4)
    thick = ramp(mean, *THICK) * ramp(float(np.quantile(luma, 0.02)) / mean, *GAPS)
    lowest = cv2.erode(luma, np.ones((STREAK_PX, STREAK_PX), np.uint8))
    under = cv2.GaussianBlur(lowest, (0, 0), STREAK_PX / 2)
    return np.asarray(thick * np.maximum(under, 0), np.float32)


def detail_inputs(photo: Image, part: Image) -> Floats:
    """The inputs (12, H, W) of a tile network: photo; `part`, the photo after a correction of its
    light; six planes of 0, since there is no prior."""
    inputs = np.zeros((12, *photo.shape[:2]), np.float32)
    inputs[:3] = planes(photo)
    inputs[3:6] = planes(part)
    return inputs


def _enlarge(planes: Floats, length: int, *, axis: int) -> Floats:
    """Planes (n, h, w), enlarged linearly to `length` px along axis 1 (rows) or 2 (columns)."""
    nodes = planes.shape[axis]
    position = np.clip(
        (np.arange(length, dtype=np.float64) + 0.5) * nodes / length - 0.5, 0, nodes - 1
    )
    left = np.minimum(position.astype(np.intp), max(nodes - 2, 0))
    share = (position - left).astype(np.float32)
    shape = [1, 1, 1]
    shape[axis] = -1
    weight = share.reshape(shape)
    first, second = (planes.take(k, axis) for k in (left, np.minimum(left + 1, nodes - 1)))
    return np.asarray(first + weight * (second - first), np.float32)


def planes(picture: Image) -> Floats:
    """The picture (H, W, 3) as planes (3, H, W)."""
    return np.ascontiguousarray(np.moveaxis(picture, 2, 0))
