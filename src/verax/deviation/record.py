"""What a measurement says: entries with unit, interval and confidence, objects, one summary."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from verax.geometry.register import Placed
from verax.image import replace_file

ObjectKind = Literal["appeared", "vanished", "moved", "replaced"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One number of the deviation vector.

    Attributes:
        value: None where the pictures cannot tell.
        unit: "px", "deg", "share", "ratio", "dB" ...
        low, high: interval that holds the value in 95 of 100 bootstrap draws, or None.
        confidence: 0..1, share of the picture that had a say.
        note: why it is not identifiable; empty when it is.
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
    """An entry that the pictures cannot tell."""
    return Entry(None, unit, confidence=0.0, note=note)


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """A region whose content changed.

    Attributes:
        kind: "appeared", "vanished", "moved", or "replaced" by something else.
        box: (left, top, right, bottom) in photo px, right and bottom exclusive.
        area: share of the photo.
        score: 0..1, how sure.
        shift_px: for "moved", (dx, dy) in photo px from the photo to the generated picture.
    """

    kind: ObjectKind
    box: tuple[int, int, int, int]
    area: float
    score: float
    shift_px: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Deviation:
    """What a generated picture changed against the photo.

    Attributes:
        placed: by the registration: "exactly", "roughly", "undecided" or "not".
        reason: that verdict in words.
        canvas: how the canvas came about: "same", "resized", "stretch", "crop", "outpaint",
            "letterbox".
        scene_state: what happened to time of day and light: "same", "night made day",
            "day made night".
        entries: the numbers, by the names in docs/deviation.md.
        objects: regions whose content changed, largest first.
        drift: summary from 0 (nothing changed) to 100 (another scene).
    """

    placed: Placed
    reason: str
    canvas: str
    scene_state: str
    entries: Mapping[str, Entry]
    objects: tuple[ObjectChange, ...]
    drift: float

    @property
    def reframed(self) -> bool:
        """The picture shows another part of the scene, or in other proportions, than the photo."""
        return self.canvas not in ("same", "resized")

    @property
    def comparable(self) -> bool:
        """Whether the picture could be placed; otherwise nothing but its canvas is compared."""
        return self.placed in ("exactly", "roughly")

    def __repr__(self) -> str:
        return f"<Deviation placed {self.placed}, drift {self.drift:.0f} of 100>"

    def _repr_markdown_(self) -> str:
        """The sentences, as notebooks show them."""
        lines = "\n".join(f"- {line}" for line in self.sentences())
        return f"**drift {self.drift:.0f} of 100**\n\n{lines}"

    def sentences(self) -> list[str]:
        """What changed, in words."""
        from verax.deviation.words import sentences

        return sentences(self)

    def save(self, path: str | Path) -> None:
        """Write the record as JSON. Raises OutputError when the file cannot be written."""
        told = self.record() | {"sentences": self.sentences()}
        replace_file(path, json.dumps(told, indent=2, ensure_ascii=False).encode())

    def record(self) -> dict[str, Any]:
        """As JSON: every entry's value by name (null where unknown), the rest in `entries`."""
        return {
            "placed": self.placed,
            "reason": self.reason,
            "canvas": self.canvas,
            "reframed": self.reframed,
            "scene_state": self.scene_state,
            "drift": self.drift,
            **{name: entry.value for name, entry in self.entries.items()},
            "objects": [
                {
                    "kind": o.kind,
                    "box_px": list(o.box),
                    "area": o.area,
                    "score": o.score,
                    "shift_px": list(o.shift_px) if o.shift_px else None,
                }
                for o in self.objects
            ],
            "entries": {
                name: {
                    "unit": entry.unit,
                    "low": entry.low,
                    "high": entry.high,
                    "confidence": entry.confidence,
                    "identifiable": entry.identifiable,
                    "note": entry.note,
                }
                for name, entry in self.entries.items()
            },
        }
