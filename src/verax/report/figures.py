"""Plots as SVG text for the report: means with intervals, and the perception-distortion plane.

Hand-made SVG needs no plotting package and stays sharp; colours follow the page's theme.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from verax.report.breakdown import Rungs
from verax.report.leaderboard import Line, Table

WIDTH, ROW, LABEL, RIGHT = 760, 26, 250, 70


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot with its caption; `svg` is safe to stand in a page as it is."""

    title: str
    caption: str
    svg: str


def figures(tables: list[Table]) -> list[Figure]:
    """Every plot that the tables allow."""
    found = [_means(table) for table in tables if any(line.interval for line in table.lines)]
    return found + _planes(tables)


def _means(table: Table) -> Figure:
    """One row per line: the mean as a dot, the interval as a bar."""
    lines = [line for line in table.lines if line.interval is not None]
    low, high = _range(lines)
    height = ROW * len(lines) + 34

    def x(value: float) -> float:
        return LABEL + (value - low) / (high - low) * (WIDTH - LABEL - RIGHT)

    parts = [_axis(low, high, x, height)]
    for index, line in enumerate(lines):
        interval = line.interval
        if interval is None:
            continue
        y = ROW * index + 16
        parts.append(f'<text x="{LABEL - 10}" y="{y + 5}" class="end">{escape(line.label)}</text>')
        if interval.low == interval.low:
            parts.append(
                f'<line x1="{x(interval.low):.1f}" x2="{x(interval.high):.1f}" y1="{y}" y2="{y}" '
                'class="bar"/>'
            )
        parts.append(f'<circle cx="{x(interval.mean):.1f}" cy="{y}" r="5" class="dot"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 12}" y="{y + 5}">{interval.mean:.2f}</text>')
    title = f"{table.title}: {table.metric}"
    arrow = "higher" if table.higher_is_better else "lower"
    caption = f"Mean and 95 % bootstrap interval over the pictures, {arrow} is better."
    return Figure(title, caption, _svg(height, title, parts))


def _range(lines: list[Line]) -> tuple[float, float]:
    ends = [
        value
        for line in lines
        if line.interval is not None
        for value in (line.interval.low, line.interval.high, line.interval.mean)
        if value == value
    ]
    low, high = min(ends), max(ends)
    margin = 0.06 * (high - low) or max(abs(high), 1.0) * 0.05
    return low - margin, high + margin


def _axis(low: float, high: float, x: Callable[[float], float], height: int) -> str:
    parts = []
    for value in ticks(low, high):
        place = x(value)
        parts.append(
            f'<line x1="{place:.1f}" x2="{place:.1f}" y1="4" y2="{height - 26}" class="grid"/>'
            f'<text x="{place:.1f}" y="{height - 8}" class="middle small">{value:g}</text>'
        )
    return "".join(parts)


def ticks(low: float, high: float) -> list[float]:
    """Round values between low and high, about four to eight of them."""
    power = 10 ** math.floor(math.log10((high - low) / 4))
    step = next(power * m for m in (1, 2, 5, 10) if (high - low) / (power * m) <= 8)
    first = math.ceil(low / step)
    return [round(n * step, 10) for n in range(first, math.floor(high / step) + 1)]


def _planes(tables: list[Table]) -> list[Figure]:
    """PSNR against a no-reference score, one plane per task that has both."""
    by_task: dict[str, dict[str, Table]] = defaultdict(dict)
    for table in tables:
        by_task[table.title][table.metric] = table
    planes = []
    for title, found in by_task.items():
        for metric in ("niqe", "brisque", "piqe"):
            if "psnr" in found and metric in found:
                planes.append(_plane(title, found["psnr"], found[metric]))
                break
    return planes


def _plane(title: str, distortion: Table, perception: Table) -> Figure:
    other = {(line.method, line.prior): line.interval for line in perception.lines}
    points = [
        (line.label, line.interval.mean, mate.mean)
        for line in distortion.lines
        if line.interval and (mate := other.get((line.method, line.prior)))
    ]
    height, left, base = 380, 60, 330
    xs, ys = [p[1] for p in points], [p[2] for p in points]

    def place(value: float, values: list[float], start: float, end: float) -> float:
        spread = (max(values) - min(values)) or 1.0
        return start + (value - min(values)) / spread * (end - start)

    parts = [
        f'<line x1="{left}" x2="{WIDTH - 20}" y1="{base + 14}" y2="{base + 14}" class="grid"/>',
        f'<line x1="{left}" x2="{left}" y1="20" y2="{base + 14}" class="grid"/>',
        f'<text x="{WIDTH - 20}" y="{base + 40}" class="end">PSNR (dB) →</text>',
        f'<text x="{left}" y="14">{escape(perception.metric)} (up is better)</text>',
    ]
    for label, psnr, score in points:
        px = place(psnr, xs, left + 30, WIDTH - 180)
        py = place(score, ys, 40, base - 10)
        if perception.higher_is_better:
            py = base + 30 - py
        parts.append(
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="5" class="dot"/>'
            f'<text x="{px + 9:.1f}" y="{py + 4:.1f}">{escape(label)}</text>'
        )
    name = f"{title}: perception and distortion"
    caption = "Right is closer to the reference, up is more natural by itself; neither is enough."
    return Figure(name, caption, _svg(height, name, parts))


def ladder_figure(ladder: Rungs) -> Figure:
    """The loss ladder as bars: PSNR after each class of deviation is undone."""
    top = max(psnr for _, psnr in ladder.steps) or 1.0
    parts = []
    for index, (name, psnr) in enumerate(ladder.steps):
        y, length = ROW * index + 4, psnr / top * (WIDTH - LABEL - RIGHT)
        gain = f" ({psnr - ladder.steps[index - 1][1]:+.2f})" if index else ""
        parts.append(
            f'<text x="{LABEL - 10}" y="{y + 15}" class="end">{escape(name)}</text>'
            f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="{ROW - 8}" class="rung"/>'
            f'<text x="{LABEL + 8}" y="{y + 14}" class="inside">{psnr:.2f} dB{gain}</text>'
        )
    title = f"{ladder.task}: loss ladder"
    caption = (
        f"PSNR of the raw prior after each class of deviation is undone, mean over {ladder.n} "
        "pictures, over the pixels that every step shows."
    )
    return Figure(title, caption, _svg(ROW * len(ladder.steps) + 10, title, parts))


def _svg(height: int, title: str, parts: list[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )
