"""The embedded networks through ONNX Runtime: tone once per photo, detail tile by tile.

The tone network, and its experts for dark photos, see the whole photo as a thumbnail and answer
with a smooth colour transform. The rain, detail and fusion networks see tiles of one size with
overlap, so memory does not grow with the photo; they have no pooled statistics, so tiles and the
whole photo agree.
"""

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from verax import weights
from verax.errors import SettingsError
from verax.image import Image, Plane
from verax.restorers.classical import dark_channel_veil
from verax.restorers.tiles import TILE, centre, kept, padded, tiles

Floats = NDArray[np.float32]

# meaning of each kind's inputs and outputs; raised when its readers must change
CONTRACTS = {"tone": "2", "detail": "2", "fusion": "3"}
THUMBNAIL_PIXELS = 192 * 256
DARK = ("dark", "dusk")  # experts for dark photos: their errors of exposure differ
KINDS = {"dark": "tone", "dusk": "tone", "rain": "detail"}  # experts of another network's make
GLANCE = 288  # px: of the centre, where the rain network looks for rain
RAIN = 0.15  # severity it must see there
WET = 0.6  # severity from which a photo with rain is also toned
# what is seen in the whole photo, the others are in tiles: the severities from which the tone is
# changed at all, and fully. A dim photo is mostly meant to be dim; a thin veil hardly ever is.
TONE_TASKS = {"haze": (0.17, 0.30), "lowlight": (0.50, 0.65), "underwater": (0.20, 0.30)}
LIFTED = (0.06, 0.10)  # darkest percentile: a veil lifts it; where it is low, no veil is thin
THICK = (0.30, 0.45)  # severity from which haze is believed all the same
FAULTS = ("haze", "lowlight", "underwater", "rain")  # what the fusion network is told of a photo
PRIOR_SHARE = 0.4  # of the dark channel prior in what is done about haze


@dataclass(frozen=True, slots=True)
class Network:
    """A network file ready to run: `multiple` is its size rule, `tasks` names its severities."""

    session: Any
    kind: str
    multiple: int
    tasks: tuple[str, ...]

    def __call__(self, inputs: Floats) -> list[Floats]:
        """Outputs for inputs (1, C, H, W)."""
        return [np.asarray(output) for output in self.session.run(None, {"input": inputs})]


@lru_cache(maxsize=8)
def open_network(path: Path, kind: str) -> Network:
    """A network file exported by `verax export`; raises SettingsError for any other."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # a waiting thread must not burn the core that another stage needs
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # the runtime does not read the variable that every other library here does; 0 is its own choice
    options.intra_op_num_threads = _count(os.environ.get("OMP_NUM_THREADS"))
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # the runtime raises bare types of its own
        raise SettingsError(f"{path}: want a network of `verax export`: {exc}") from exc
    facts = session.get_modelmeta().custom_metadata_map
    if (facts.get("verax.contract"), facts.get("verax.network")) != (CONTRACTS[kind], kind):
        raise SettingsError(
            f"{path}: want a {kind} network of contract {CONTRACTS[kind]}, got "
            f"{facts.get('verax.network')!r} of {facts.get('verax.contract')!r}; export it again"
        )
    tasks = tuple(json.loads(facts["verax.tasks"]))
    return Network(session, kind, int(facts["verax.multiple"]), tasks)


def _count(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def restore(photo: Image) -> Image:
    """The base (H, W, 3): the photo restored by the embedded networks, without a prior."""
    dry = derained(photo)
    transform, severities = light(dry)
    if dry is not photo and max(severities[task] for task in TONE_TASKS) < WET:
        transform = np.zeros_like(transform)  # what rain leaves behind passes for a veil
    return repair(dry, partial(toned, dry, transform), embedded("detail"))


def light(photo: Image) -> tuple[Floats, dict[str, float]]:
    """The photo's colour transform (6, h, w) and its severities: for a dark photo the mean of the
    experts' transforms, else the tone network's, as strongly as the severities that it sees."""
    tone = embedded("tone")
    small = thumbnail(photo, tone.multiple)
    transform, severities = look(small, tone)
    found = {task: float(severities[tone.tasks.index(task)]) for task in tone.tasks}
    strengths = {task: ramp(found[task], *TONE_TASKS[task]) for task in TONE_TASKS}
    darkest = float(np.percentile(cv2.resize(small, (96, 96)).min(2), 1))
    strengths["haze"] *= max(ramp(darkest, *LIFTED), ramp(found["haze"], *THICK))
    worst = max(TONE_TASKS, key=lambda task: found[task])
    if worst == "lowlight":
        looks = [look(thumbnail(photo, net.multiple), net)[0] for net in map(embedded, DARK)]
        transform = np.mean(looks, 0)
    elif worst == "haze":
        transform = with_dark_channel(transform, small)
    return scaled(transform, max(strengths.values())), found


def with_dark_channel(transform: Floats, small: Image) -> Floats:
    """The tone network's transform, averaged with the one of the dark channel prior.

    On a thin veil the network, which fears for clear photos, takes too little away, the prior too
    much: their errors have opposite signs.
    """
    airlight, transmission = dark_channel_veil(small)
    gain = 1 / cv2.resize(transmission, transform.shape[:0:-1], interpolation=cv2.INTER_AREA)
    mixed = np.empty_like(transform)
    mixed[:3] = np.log((1 - PRIOR_SHARE) * np.exp(transform[:3]) + PRIOR_SHARE * gain)
    veil = airlight[:, None, None] * (1 - gain)
    mixed[3:] = (1 - PRIOR_SHARE) * transform[3:] + PRIOR_SHARE * veil
    return mixed


def scaled(transform: Floats, strength: float) -> Floats:
    """A share of what a transform does to a photo, 0 being nothing."""
    part = np.float32(strength) * transform
    part[:3] = np.log1p(np.float32(strength) * np.expm1(transform[:3]))
    return part


def ramp(value: float, none: float, full: float) -> float:
    """0 up to `none`, 1 from `full`, linear between."""
    return float(np.clip((value - none) / (full - none), 0.0, 1.0))


def derained(photo: Image) -> Image:
    """The photo without its streaks of rain, where it rains; else the photo itself."""
    if not rains(photo):
        return photo
    return repair(photo, lambda rows, columns: photo[rows, columns], embedded("rain"))


def rains(photo: Image) -> bool:
    """Whether the rain network sees rain at the photo's centre."""
    return rain_at_centre(photo) > RAIN


def rain_at_centre(photo: Image) -> float:
    """How badly it rains, as the rain network sees the photo's centre, in [0, 1]."""
    judge = embedded("rain")
    rows, columns = (centre(length, GLANCE) for length in photo.shape[:2])
    part = photo[rows, columns]
    severities = judge(padded(detail_inputs(part, part), judge.multiple))[2][0]
    return float(severities[judge.tasks.index("rain")])


def faults(photo: Image) -> tuple[float, ...]:
    """How badly the photo suffers from each of FAULTS, in [0, 1]."""
    tone = embedded("tone")
    _, severities = look(thumbnail(photo, tone.multiple), tone)
    whole = (float(severities[tone.tasks.index(task)]) for task in FAULTS[:3])
    return (*whole, rain_at_centre(photo))


def join(size: tuple[int, ...], planes_of: Callable[[slice, slice], Image]) -> tuple[Image, Plane]:
    """Restoration (H, W, 3) and share of the prior's texture (H, W) by the fusion network, of whose
    input (H, W, 19) `planes_of` gives rows and columns."""
    fusion, (height, width) = embedded("fusion"), size
    pixels, texture = (
        np.empty((height, width, 3), np.float32),
        np.empty((height, width), np.float32),
    )
    for outer, inner in tiles(height, width):
        restored, taken = fusion(padded(_planes(planes_of(*outer)), fusion.multiple))
        cut = kept(outer, inner)
        pixels[inner] = np.clip(np.moveaxis(restored[0], 0, 2)[cut], 0.0, 1.0)
        texture[inner] = taken[0, 2][cut]
    return pixels, texture


def embedded(name: str) -> Network:
    """The network that ships with Verax under a name of `verax.weights.FILES`."""
    return open_network(weights.path(name), KINDS.get(name, name))


def thumbnail(photo: Image, multiple: int) -> Image:
    """The whole photo with about THUMBNAIL_PIXELS, sides of the given multiple."""
    height, width = photo.shape[:2]
    scale = math.sqrt(THUMBNAIL_PIXELS / (height * width))
    size = (max(multiple, round(s * scale / multiple) * multiple) for s in (width, height))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = cv2.resize(photo, tuple(size), interpolation=method)
    return np.asarray(np.clip(small, 0.0, 1.0), np.float32)


def look(small: Image, tone: Network) -> tuple[Floats, Floats]:
    """The colour transform (6, h, w) and severities of a thumbnail."""
    transform, severities = (output[0] for output in tone(_planes(small)[None]))
    return transform, severities


def toned(
    photo: Image, transform: Floats, rows: slice = slice(None), columns: slice = slice(None)
) -> Image:
    """A part of the photo under its transform: gain and offset, bilinear between its nodes."""
    part = photo[rows, columns]
    planes = _sampled(transform, photo.shape[0], rows, axis=1)
    planes = np.moveaxis(_sampled(planes, photo.shape[1], columns, axis=2), 0, 2)
    out = part * np.exp(planes[..., :3])
    out += planes[..., 3:]
    return np.clip(out, 0.0, 1.0, out=out)


def repair(
    photo: Image,
    part_of: Callable[[slice, slice], Image],
    detail: Network,
    *,
    tile: int = TILE,
) -> Image:
    """The toned photo, of which `part_of` gives rows and columns, repaired tile by tile."""
    out = np.empty_like(photo)
    for outer, inner in tiles(photo.shape[0], photo.shape[1], tile=tile):
        part = part_of(*outer)
        inputs = padded(detail_inputs(photo[outer], part), detail.multiple)
        residual = np.moveaxis(detail(inputs)[0][0], 0, 2)
        restored = part + residual[: part.shape[0], : part.shape[1]]
        out[inner] = np.clip(restored[kept(outer, inner)], 0.0, 1.0)
    return out


def detail_inputs(photo: Image, part: Image) -> Floats:
    """(12, H, W) for the detail network: photo, toned photo, and no prior."""
    inputs = np.zeros((12, *photo.shape[:2]), np.float32)
    inputs[:3] = _planes(photo)
    inputs[3:6] = _planes(part)
    return inputs


def _sampled(planes: Floats, length: int, span: slice, *, axis: int) -> Floats:
    """Planes linearly enlarged to `length` along an axis, only the span of it."""
    nodes = planes.shape[axis]
    wanted = np.arange(*span.indices(length), dtype=np.float64)
    position = np.clip((wanted + 0.5) * nodes / length - 0.5, 0, nodes - 1)
    left = np.minimum(position.astype(np.intp), max(nodes - 2, 0))
    share = (position - left).astype(np.float32)
    shape = [1, 1, 1]
    shape[axis] = -1
    weight = share.reshape(shape)
    first, second = (planes.take(k, axis) for k in (left, np.minimum(left + 1, nodes - 1)))
    return np.asarray(first + weight * (second - first), np.float32)


def _planes(picture: Image) -> Floats:
    return np.ascontiguousarray(np.moveaxis(picture, 2, 0))
