"""Plots as SVG text: axes, marks and labels. Hand-made SVG needs no package and stays sharp.

Colours are classes that follow the page's theme.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

Scale = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot with its caption; `svg` is safe to stand in a page as it is."""

    title: str
    caption: str
    svg: str


def svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )


def scale(low: float, high: float, start: float, end: float) -> Scale:
    """Values to places, linear."""
    return lambda value: start + (value - low) / ((high - low) or 1.0) * (end - start)


def span(values: Sequence[float], margin: float = 0.06) -> tuple[float, float]:
    """Lowest and highest finite value with a margin."""
    known = [value for value in values if math.isfinite(value)]
    low, high = min(known), max(known)
    extra = margin * (high - low) or max(abs(high), 1.0) * 0.05
    return low - extra, high + extra


def ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Round values between low and high, about half of `most` to `most` of them."""
    power = 10 ** math.floor(math.log10((high - low) / (most / 2)))
    step = next(power * m for m in (1, 2, 5, 10) if (high - low) / (power * m) <= most)
    first = math.ceil(low / step)
    return [round(n * step, 10) for n in range(first, math.floor(high / step) + 1)]


def text(x: float, y: float, words: str, kind: str = "") -> str:
    marks = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{marks}>{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def dot(x: float, y: float, kind: str = "dot", *, tip: str = "") -> str:
    title = f"<title>{escape(tip)}</title>" if tip else ""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" class="{kind}">{title}</circle>'


def bar(x: float, y: float, width: float, height: float, kind: str, *, tip: str = "") -> str:
    title = f"<title>{escape(tip)}</title>" if tip else ""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height:.1f}" '
        f'class="{kind}">{title}</rect>'
    )


def x_axis(low: float, high: float, x: Scale, top: float, bottom: float) -> list[str]:
    """Grid lines from top to bottom with their values below."""
    parts = []
    for value in ticks(low, high):
        parts.append(line(x(value), top, x(value), bottom, "grid"))
        parts.append(text(x(value), bottom + 16, f"{value:g}", "middle small"))
    return parts


def y_axis(low: float, high: float, y: Scale, left: float, right: float) -> list[str]:
    """Grid lines from left to right with their values before them."""
    parts = []
    for value in ticks(low, high, most=6):
        parts.append(line(left, y(value), right, y(value), "grid"))
        parts.append(text(left - 6, y(value) + 4, f"{value:g}", "end small"))
    return parts


def apart(places: Sequence[float], distance: float) -> list[float]:
    """The places pushed apart to at least a distance, in their order, as little as goes."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    for before, after in pairwise(order):
        moved[after] = max(moved[after], moved[before] + distance)
    return moved
