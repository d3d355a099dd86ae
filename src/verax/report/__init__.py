"""Reports. This module has the building blocks of pages: plots, the compare viewer, templates.

A plot is a list of marks, drawn as SVG for the page and by matplotlib for files. In the page,
colours are CSS classes that follow the theme; in files they are fixed.

The compare viewer shows pictures over each other, in the report and on the web page. It is a script
and a style sheet; viewer/compare.js explains how to call it. It gets each picture as
`{"name": ..., "src": ...}`, where `src` is a path relative to the page or a data URL.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import jinja2

Scale = Callable[[float], float]
Point = tuple[float, float]

FONT, SMALL = 13.0, 11.5
TITLE = 26  # height of the title line of a file
DOT = 5
DOTS_PER_INCH = 100  # one unit of a plot is a pixel at this resolution
PRINT = {  # colour and line width in files, by CSS class
    "grid": ("#dddddd", 1.0),
    "nothing": ("#777777", 1.0),
    "bar": ("#8fb9d6", 6.0),
    "curve": ("#00558c", 2.0),
    "grey": ("#777777", 1.0),
    "step": ("#2e7d32", 1.0),
    "rung": ("#3f7fa8", 1.0),
    "inside": ("#ffffff", 1.0),
}
BLUE, INK = ("#00558c", 1.0), ("#1c1c1a", 1.0)


@dataclass(frozen=True, slots=True)
class Mark:
    """One element of a plot.

    Attributes:
        points: (x, y) in px from the top left: one for a dot or text, two for a line (ends) or a
            bar (opposite corners), any number for a curve.
        look: names of CSS classes, separated by spaces.
        words: the text of a "text"; the tooltip of a dot or bar, "" for none.
        opacity: of the fill, 0..1; None: as the CSS says.
    """

    kind: Literal["line", "dot", "bar", "text", "curve"]
    points: tuple[Point, ...]
    look: str = ""
    words: str = ""
    opacity: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A plot with title and caption.

    `about` names what the plot shows, such as a task ("" for a whole run); `size` is (width,
    height) in px.
    """

    title: str
    caption: str
    about: str
    size: tuple[float, float]
    marks: tuple[Mark, ...]

    @property
    def label(self) -> str:
        return f"{self.about}: {self.title}" if self.about else self.title

    @property
    def svg(self) -> str:
        """The plot as the text of an SVG element for an HTML page."""
        width, height = self.size
        return (
            f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(self.label)}">'
            + "".join(map(_element, self.marks))
            + "</svg>"
        )

    def save(self, paths: Sequence[Path]) -> None:
        """Write the plot to each path, in the format of its suffix. Needs matplotlib."""
        from matplotlib.figure import Figure as Sheet

        width, height = self.size
        inches = width / DOTS_PER_INCH, (height + TITLE) / DOTS_PER_INCH
        sheet = Sheet(figsize=inches)
        axes = sheet.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(height, -TITLE))
        axes.axis("off")
        title = text(4, -8, self.label)
        for mark in (title, *self.marks):
            _draw(axes, mark)
        for path in paths:
            sheet.savefig(path, dpi=150)


def text(x: float, y: float, words: str, look: str = "") -> Mark:
    return Mark("text", ((x, y),), look, words)


def line(x1: float, y1: float, x2: float, y2: float, look: str) -> Mark:
    return Mark("line", ((x1, y1), (x2, y2)), look)


def dot(x: float, y: float, look: str = "dot", *, tip: str = "") -> Mark:
    return Mark("dot", ((x, y),), look, tip)


def bar(x: float, y: float, width: float, height: float, look: str) -> Mark:
    return Mark("bar", ((x, y), (x + max(width, 0), y + height)), look)


def _element(mark: Mark) -> str:
    (x, y), (right, bottom) = mark.points[0], mark.points[-1]
    look = f' class="{mark.look}"' if mark.look else ""
    tip = f"<title>{escape(mark.words)}</title>" if mark.words else ""
    if mark.opacity is not None:
        look += f' fill-opacity="{mark.opacity:.2f}"'
    match mark.kind:
        case "text":
            return f'<text x="{x:.1f}" y="{y:.1f}"{look}>{escape(mark.words)}</text>'
        case "line":
            ends = f'x1="{x:.1f}" y1="{y:.1f}" x2="{right:.1f}" y2="{bottom:.1f}"'
            return f"<line {ends}{look}/>"
        case "dot":
            return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{DOT}"{look}>{tip}</circle>'
        case "curve":
            path = " ".join(f"{px:.1f},{py:.1f}" for px, py in mark.points)
            return f'<polyline points="{path}"{look}/>'
    place = f'x="{x:.1f}" y="{y:.1f}" width="{right - x:.1f}" height="{bottom - y:.1f}"'
    return f"<rect {place}{look}>{tip}</rect>"


def _draw(axes: Any, mark: Mark) -> None:  # noqa: ANN401  # of matplotlib, which has no types
    looks = mark.look.split()
    colour, stroke = next((PRINT[look] for look in reversed(looks) if look in PRINT), BLUE)
    points = 72 / DOTS_PER_INCH  # typographic points per unit of the plot
    x, y = zip(*mark.points, strict=True)
    if mark.kind == "text":
        side = "right" if "end" in looks else "center" if "middle" in looks else "left"
        size = (SMALL if "small" in looks else FONT) * points
        ink = colour if "inside" in looks else INK[0]
        axes.text(
            x[0], y[0], mark.words, ha=side, va="baseline", size=size, color=ink, parse_math=False
        )
    elif mark.kind == "bar":
        width, height = x[1] - x[0], y[1] - y[0]
        left = x[0] + width / 2
        axes.bar(left, height, width, y[0], color=colour, alpha=mark.opacity, linewidth=0)
    elif mark.kind == "dot":
        axes.plot(x, y, "o", color=colour, markersize=2 * DOT * points)
    else:
        style = "--" if "nothing" in looks else "-"
        axes.plot(x, y, style, color=colour, linewidth=stroke * points)


def scale(low: float, high: float, start: float, end: float) -> Scale:
    """A linear function that maps the value `low` to the position `start` and `high` to `end`."""
    return lambda value: start + (value - low) / ((high - low) or 1.0) * (end - start)


def span(values: Sequence[float], margin: float = 0.06) -> tuple[float, float]:
    """(lowest, highest) finite value, both moved outwards by `margin` times their difference.

    If they are equal, they are moved by 5 % of the value, and by at least 0.05.
    """
    known = [value for value in values if math.isfinite(value)]
    low, high = min(known), max(known)
    extra = margin * (high - low) or max(abs(high), 1.0) * 0.05
    return low - extra, high + extra


def ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Round numbers at equal steps from `low` to `high`: about `most` / 2 to `most` of them."""
    power = 10 ** math.floor(math.log10((high - low) / (most / 2)))
    step = next(power * m for m in (1, 2, 5, 10) if (high - low) / (power * m) <= most)
    first = math.ceil(low / step)
    return [round(n * step, 10) for n in range(first, math.floor(high / step) + 1)]


def x_axis(low: float, high: float, x: Scale, top: float, bottom: float) -> list[Mark]:
    """Vertical grid lines at round values between `low` and `high`, each with its value below.

    `x` turns a value into a position in px; the lines run from `top` to `bottom` (px).
    """
    marks = []
    for value in ticks(low, high):
        marks.append(line(x(value), top, x(value), bottom, "grid"))
        marks.append(text(x(value), bottom + 16, f"{value:g}", "middle small"))
    return marks


def y_axis(low: float, high: float, y: Scale, left: float, right: float) -> list[Mark]:
    """Horizontal grid lines at round values between `low` and `high`, with the values on the left.

    `y` turns a value into a position in px; the lines run from `left` to `right` (px).
    """
    marks = []
    for value in ticks(low, high, most=6):
        marks.append(line(left, y(value), right, y(value), "grid"))
        marks.append(text(left - 6, y(value) + 4, f"{value:g}", "end small"))
    return marks


def apart(places: Sequence[float], distance: float) -> list[float]:
    """The positions (px), some of them increased so that any two are at least `distance` px apart.
    The result has the order of `places`."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    for before, after in pairwise(order):
        moved[after] = max(moved[after], moved[before] + distance)
    return moved


def viewer_script() -> str:
    """The JavaScript of the compare viewer, which defines `veraxCompare(element, options)`."""
    parts = (files(__package__) / "viewer" / name for name in ("hands.js", "compare.js"))
    return "\n".join(part.read_text(encoding="utf-8") for part in parts)


def viewer_style() -> str:
    """The style sheet (CSS) of the compare viewer."""
    return (files(__package__) / "viewer" / "compare.css").read_text(encoding="utf-8")


def template(name: str, **filters: Callable[..., str]) -> "jinja2.Template":
    """The Jinja template `name` of this package. `filters` are functions that turn values into
    text, by the names under which the template calls them."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(files(__package__) / "templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment.get_template(name)


def script_json(value: Any) -> str:  # noqa: ANN401  # anything JSON can hold
    """`value` as JSON text that is safe inside a script element of an HTML page."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
