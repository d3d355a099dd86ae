"""The record of a measured deviation, and its description in plain sentences."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from verax.geometry.register import Placed
from verax.image import replace_file
from verax.metrics.scene import SceneState

ObjectKind = Literal["appeared", "vanished", "moved", "replaced"]
CANVAS = {
    "stretch": "stretched to another shape",
    "crop": "cropped to another shape",
    "outpaint": "extended beyond the photo",
    "letterbox": "set between bars",
}
# smallest changes that are put into words
LEAST_SCALE = 0.004
LEAST_SHIFT = 0.004  # share of the side
LEAST_TURN_DEG = 0.15
LEAST_SHARE = 0.03
LEAST_COLOUR = 3.0  # ΔE00: less is hardly seen
LEAST_EV = 0.3
WORDS: dict[str, str | tuple[str, ...]] = {
    "shift": "shift_",
    "scale": "scale_",
    "rotation": "rotation_",
    "shear": "shear_",
    "perspective": "perspective_",
    "local motion": ("local_motion_", "moved_blocks"),
    "invented edges": "invented_edges",
    "lost edges": "lost_edges",
    "corners": "keypoints_",
    "structure": ("coherence_", "structure_"),
    "the finest scale that is still right": "finest_scale",
    "light and colour": ("colour_", "exposure_", "clipped_"),
    "words": "words_lost",
}
ENTRY_KEYS = ("unit", "low", "high", "confidence", "identifiable", "note")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True, slots=True)
class Entry:
    """One measured number of a deviation.

    Attributes:
        value: None if the number cannot be measured on these pictures.
        unit: "px", "deg", "share" (0 to 1), "ratio", "count", "EV", "ΔE00" or "levels of 255".
        low, high: ends of the 95 % interval; None if no interval is known.
        confidence: in [0, 1], in most entries the share of the photo that could be used.
        note: why the number cannot be measured; empty if it can.
    """

    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    confidence: float = 1.0
    note: str = ""

    @property
    def identifiable(self) -> bool:
        return self.value is not None


def unknown(unit: str, note: str) -> Entry:
    """An entry without a value; `note` says why it cannot be measured on these pictures."""
    return Entry(None, unit, confidence=0.0, note=note)


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """A region of the photo whose content the generated picture changed.

    Attributes:
        kind: "appeared", "vanished", "moved", or "replaced" by something else.
        box: (left, top, right, bottom) in photo px, right and bottom exclusive; of a moved object,
            its place in the photo.
        area: share of the photo's area.
        score: confidence in [0, 1].
        shift_px: displacement (dx, dy) of a moved object in photo px; None for other kinds.
    """

    kind: ObjectKind
    box: tuple[int, int, int, int]
    area: float
    score: float
    shift_px: tuple[float, float] | None = None

    def record(self) -> dict[str, Any]:
        """The change as a JSON object; "shift_px" is null unless the object moved."""
        shift = list(self.shift_px) if self.shift_px else None
        known = {"kind": self.kind, "box_px": list(self.box), "area": self.area}
        return known | {"score": self.score, "shift_px": shift}


@dataclass(frozen=True, slots=True, repr=False)
class Deviation:
    """What a generated picture changed, compared with the photo.

    Attributes:
        placed: how well the registration placed the generated picture on the photo: "exactly",
            "roughly", "undecided" or "not".
        reason: why `placed` has this value, in words.
        canvas: change of size and proportions: "same", "resized" (same proportions), "stretch",
            "crop", "outpaint" (extended beyond the photo) or "letterbox" (with bars).
        scene_state: change of the time of day or light, such as "day made night"; or "same".
        entries: the measured numbers by name; docs/deviation.md explains each.
        objects: regions whose content changed, largest first.
        drift: summary from 0 (nothing changed) to 100 (another scene).
    """

    placed: Placed
    reason: str
    canvas: str
    scene_state: SceneState
    entries: Mapping[str, Entry]
    objects: tuple[ObjectChange, ...]
    drift: float

    @property
    def is_reframed(self) -> bool:
        """Whether the generator changed the proportions of the picture or what part it shows."""
        return self.canvas not in ("same", "resized")

    @property
    def comparable(self) -> bool:
        """Whether the generated picture could be placed; else only the framing is compared."""
        return self.placed in ("exactly", "roughly")

    def __repr__(self) -> str:
        return f"<Deviation placed {self.placed}, drift {self.drift:.0f} of 100>"

    def _repr_markdown_(self) -> str:
        """Drift and sentences as Markdown, which notebooks display."""
        lines = "\n".join(f"- {line}" for line in self.sentences())
        return f"**drift {self.drift:.0f} of 100**\n\n{lines}"

    def sentences(self) -> list[str]:
        """What the generator changed, in plain sentences, the most important first."""
        return sentences(self)

    def save(self, path: str | Path) -> None:
        """Write the record as JSON. Raises OutputError when the file cannot be written."""
        record = self.record() | {"sentences": self.sentences()}
        replace_file(path, json.dumps(record, indent=2, ensure_ascii=False).encode())

    def record(self) -> dict[str, Any]:
        """The deviation as a JSON object.

        The value of each entry is at the top level (null if unknown), its unit etc. in "entries".
        """
        return {
            "placed": self.placed,
            "reason": self.reason,
            "canvas": self.canvas,
            "reframed": self.is_reframed,
            "scene_state": self.scene_state,
            "drift": self.drift,
            **{name: entry.value for name, entry in self.entries.items()},
            "objects": [change.record() for change in self.objects],
            "entries": {
                name: {key: getattr(entry, key) for key in ENTRY_KEYS}
                for name, entry in self.entries.items()
            },
        }


def sentences(deviation: Deviation) -> list[str]:
    """What the generator changed, most important first; the last names what cannot be measured."""
    if deviation.placed == "undecided":
        return [f"It is not certain that both pictures show the same scene: {deviation.reason}."]
    if not deviation.comparable:
        return [f"The generated picture shows another scene: {deviation.reason}."]
    topics = (_scene, _canvas, _geometry, _motion, _objects, _edges, _tone, _unknown)
    lines = [line for topic in topics if (line := topic(deviation))]
    return lines or ["The generator changed nothing that can be measured."]


def _scene(d: Deviation) -> str:
    before, _, after = d.scene_state.partition(" made ")
    change = f"turned {before} into {after}" if after else f"changed the light: {before}"
    return "" if before == "same" else f"The generator {change}."


def _canvas(d: Deviation) -> str:
    width, height = (_whole(d, f"generated_{side}_px") for side in ("width", "height"))
    ours, theirs = (_whole(d, f"photo_{side}_px") for side in ("width", "height"))
    size = f"the {ours}x{theirs} photo came back as {width}x{height}"
    if d.canvas == "same":
        return ""
    if d.canvas == "resized":
        return f"{size[0].upper()}{size[1:]}, with the same proportions."
    hidden, outside = _value(d, "hidden_share"), _value(d, "outpainted_share")
    shares = []
    if hidden > LEAST_SHARE:
        shares.append(f"{hidden:.0%} of the photo is not shown")
    if outside > LEAST_SHARE:
        shares.append(f"{outside:.0%} of the picture lies outside the photo")
    more = f"; {' and '.join(shares)}" if shares else ""
    return f"The scene was reframed: {size}, {CANVAS[d.canvas]}{more}."


def _geometry(d: Deviation) -> str:
    x, y = _value(d, "scale_x", 1.0) - 1, _value(d, "scale_y", 1.0) - 1
    phrases = []
    if max(abs(x), abs(y)) > LEAST_SCALE:
        if abs(x - y) < max(LEAST_SCALE, 0.25 * max(abs(x), abs(y))):
            phrases.append(f"zoomed {'in' if x > 0 else 'out'} by {abs(x + y) / 2:.1%}")
        else:
            if abs(x) > LEAST_SCALE:
                phrases.append(f"{'widened' if x > 0 else 'narrowed'} the scene by {abs(x):.1%}")
            if abs(y) > LEAST_SCALE:
                what = "it" if phrases else "the scene"
                phrases.append(f"made {what} {abs(y):.1%} {'taller' if y > 0 else 'lower'}")
    dx, dy = _value(d, "shift_x_px"), _value(d, "shift_y_px")
    ways = []
    if abs(dx) > LEAST_SHIFT * _whole(d, "photo_width_px"):
        ways.append(f"{abs(dx):.0f} px to the {'right' if dx > 0 else 'left'}")
    if abs(dy) > LEAST_SHIFT * _whole(d, "photo_height_px"):
        ways.append(f"{abs(dy):.0f} px {'down' if dy > 0 else 'up'}")
    if ways:
        phrases.append(f"moved {'it' if phrases else 'the scene'} {_join(ways)}")
    turn = _value(d, "rotation_deg")
    if abs(turn) > LEAST_TURN_DEG:
        way = "clockwise" if turn > 0 else "anticlockwise"
        phrases.append(f"turned {'it' if phrases else 'the scene'} {abs(turn):.1f}° {way}")
    return f"The generator {_join(phrases)}." if phrases else ""


def _motion(d: Deviation) -> str:
    median, p95 = _value(d, "local_motion_median_px"), _value(d, "local_motion_p95_px")
    if p95 < 0.005 * _whole(d, "photo_width_px"):
        return ""
    return (
        f"In addition, parts of the scene moved by {median:.1f} px (median; "
        f"one in twenty by more than {p95:.1f} px)."
    )


def _objects(d: Deviation) -> str:
    verbs = {"appeared": "added", "vanished": "removed", "moved": "moved", "replaced": "replaced"}
    phrases = []
    for kind, verb in verbs.items():
        count = sum(change.kind == kind for change in d.objects)
        if count:
            phrases.append(f"{verb} {_number(count)} object{'s' if count > 1 else ''}")
    return f"The generator {_join(phrases)}." if phrases else ""


def _edges(d: Deviation) -> str:
    invented, lost = _value(d, "invented_edges"), _value(d, "lost_edges")
    phrases = []
    if invented > LEAST_SHARE:
        phrases.append(f"{invented:.0%} of the generated picture's edges are not in the photo")
    if lost > LEAST_SHARE:
        phrases.append(f"{lost:.0%} of the photo's edges are not in the generated picture")
    text = " and ".join(phrases)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _tone(d: Deviation) -> str:
    colour, stops = _value(d, "colour_difference"), _value(d, "exposure_shift_ev")
    if colour < LEAST_COLOUR:
        return ""
    light = f", {abs(stops):.1f} stops {'brighter' if stops > 0 else 'darker'}"
    light = light if abs(stops) > LEAST_EV else ""
    after = _value(d, "colour_difference_fitted")
    return (
        f"Colours differ by ΔE {colour:.1f}{light}; after correction by one 3x3 colour matrix "
        f"they differ by ΔE {after:.1f}."
    )


def _unknown(d: Deviation) -> str:
    """A sentence that lists what could not be measured; "" if everything could."""
    names = [name for name, entry in d.entries.items() if not entry.identifiable]
    phrases = [word for word, keys in WORDS.items() if any(name.startswith(keys) for name in names)]
    return f"Could not be measured: {_join(phrases)}." if phrases else ""


def _value(d: Deviation, name: str, default: float = 0.0) -> float:
    entry = d.entries.get(name)
    return default if entry is None or entry.value is None else entry.value


def _whole(d: Deviation, name: str) -> int:
    return round(_value(d, name))


def _number(count: int) -> str:
    return NUMBERS[count] if count < len(NUMBERS) else str(count)


def _join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
