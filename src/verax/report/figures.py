"""The plots of a report: means with intervals, rank stability, perception against distortion, time
and cost, the loss ladder (PSNR of priors after each of several corrections), the best of K
pictures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from verax.report import (
    Figure,
    Mark,
    apart,
    bar,
    dot,
    line,
    scale,
    span,
    text,
    x_axis,
    y_axis,
)
from verax.report.breakdown import Quality, Rungs
from verax.report.leaderboard import Line, Table

WIDTH, ROW, LABEL, RIGHT = 640, 26, 215, 60
PERCEPTION = ("niqe", "brisque", "piqe")
MOST_LETTERS = 30


def same_pictures(tables: Sequence[Table]) -> list[list[Table]]:
    """Groups of tables about the same pictures, a table per metric and protocol. The first of a
    group is the main table, for PSNR if this was computed. Tables of a group must be neighbours."""
    groups = groupby(tables, key=lambda t: (t.task, t.degradation, t.subset))
    return [list(several) for _, several in groups]


def run_figures(
    tables: Sequence[Table], ladders: Sequence[Rungs], qualities: Sequence[Quality]
) -> list[Figure]:
    """All plots of a run. `tables` are all its tables, `ladders` have the PSNR of priors after each
    of several corrections, `qualities` say how good the pictures of each generator are."""
    figures = []
    for several in same_pictures(tables):
        figures += table_figures(several)
        figures += [means_figure(table) for table in several[1:] if _scored_lines(table)]
    curves = best_of_figure(qualities)
    return [*figures, *map(ladder_figure, ladders), *([curves] if curves else [])]


@dataclass(frozen=True, slots=True)
class PageView:
    """The section of the page on one task and set of pictures.

    `tables` has a table per metric and protocol; the first is the main table, for PSNR if this was
    computed. `anchor` is the HTML id.
    """

    anchor: str
    title: str
    tables: tuple[Table, ...]
    figures: tuple[Figure, ...]

    @property
    def main(self) -> Table:
        return self.tables[0]

    @property
    def nothing(self) -> Line | None:
        """The first table's row of the unchanged photo (method identity); None if it has none."""
        return next((one for one in self.main.lines if one.label == "identity"), None)

    def other(self, table: Table, line: Line) -> Line | None:
        """The row of `table` with the same method and prior as `line`, a row of another table; None
        if there is none."""
        name = line.method, line.prior
        return next((one for one in table.lines if (one.method, one.prior) == name), None)


def views(tables: list[Table]) -> list[PageView]:
    """One section of the page for each task and set of pictures."""
    return [
        PageView(f"view-{place}", several[0].title, tuple(several), tuple(table_figures(several)))
        for place, several in enumerate(same_pictures(tables))
    ]


def table_figures(tables: Sequence[Table]) -> list[Figure]:
    """The plots for several tables about the same pictures. Means, ranks and costs are plotted
    for the first table only."""
    main = tables[0]
    figures = [means_figure(main)] if _scored_lines(main) else []
    if len([one for one in main.lines if one.rank_shares]) > 1 and main.scenes > 1:
        figures.append(ranks_figure(main))
    by_metric = {table.metric: table for table in tables}
    perception = next((by_metric[m] for m in PERCEPTION if m in by_metric), None)
    if "psnr" in by_metric and perception is not None:
        figures.append(plane_figure(by_metric["psnr"], perception))
    if _scored_lines(main):
        figures.append(expense_figure(main))
    return figures


def _scored_lines(table: Table) -> list[Line]:
    return [one for one in table.lines if one.interval is not None]


def _short(label: str) -> str:
    return label if len(label) <= MOST_LETTERS else label[: MOST_LETTERS - 1] + "…"


def _figure(about: str, title: str, caption: str, height: float, marks: Sequence[Mark]) -> Figure:
    return Figure(
        title=title, caption=caption, about=about, size=(WIDTH, height), marks=tuple(marks)
    )


def means_figure(table: Table) -> Figure:
    """For each row of the table, its mean as a dot and its 95 % interval as a bar.

    A dashed line marks the mean of the unchanged photo.
    """
    rows = [(one, one.interval) for one in _scored_lines(table) if one.interval is not None]
    low, high = span([v for _, i in rows for v in (i.low, i.high, i.mean)])
    x, bottom = scale(low, high, LABEL, WIDTH - RIGHT), ROW * len(rows) + 8
    marks = x_axis(low, high, x, 4, bottom)
    for row, (one, interval) in enumerate(rows):
        y = ROW * row + 16
        nothing = one.label == "identity"
        if nothing:
            marks.append(line(x(interval.mean), 4, x(interval.mean), bottom, "nothing"))
        marks.append(text(LABEL - 10, y + 5, _short(one.label), "end"))
        if math.isfinite(interval.low):
            marks.append(line(x(interval.low), y, x(interval.high), y, "bar"))
        marks.append(dot(x(interval.mean), y, "dot grey" if nothing else "dot"))
        marks.append(text(WIDTH - RIGHT + 8, y + 5, f"{interval.mean:.2f}"))
    arrow = "right is better" if table.higher_is_better else "left is better"
    unit = f" ({table.unit})" if table.unit else ""
    caption = f"Mean with 95 % interval, {arrow}; the dashed line is the unchanged photo."
    title = f"{table.metric}{unit}"
    return _figure(table.title, title, caption, bottom + 24, marks)


def ranks_figure(table: Table) -> Figure:
    """A heat map: the share of bootstrap resamples in which each row of the table has each rank."""
    rows = [one for one in table.lines if one.rank_shares]
    cell = min(60.0, (WIDTH - LABEL - 10) / len(rows))
    marks: list[Mark] = []
    for row, one in enumerate(rows):
        y = ROW * row + 22
        marks.append(text(LABEL - 10, y + 17, _short(one.label), "end"))
        for rank, share in enumerate(one.rank_shares):
            x = LABEL + cell * rank
            tip = f"{one.label}: rank {rank + 1} in {share:.0%} of resamples"
            corners = (x, y), (x + cell - 2, y + ROW - 2)
            marks.append(Mark("bar", corners, "heat", tip, 0.04 + 0.96 * share))
            if share >= 0.005 and cell > 28:
                kind = "middle small inside" if share > 0.45 else "middle small"
                marks.append(text(x + cell / 2 - 1, y + 16, f"{share:.0%}", kind))
    for rank in range(len(rows)):
        marks.append(text(LABEL + cell * (rank + 0.5) - 1, 14, f"{rank + 1}", "middle small"))
    caption = f"Share of resamples of the {table.scenes} scenes in which a method has each rank."
    title = f"rank stability, {table.metric}"
    return _figure(table.title, title, caption, ROW * len(rows) + 28, marks)


def plane_figure(distortion: Table, perception: Table) -> Figure:
    """One dot per method, better to the right and upwards. Its x is the mean PSNR, from the table
    `distortion`; its y is the mean of a metric without reference, from the table `perception`.
    Methods that lack a mean in one of the tables are left out."""
    other = {(one.method, one.prior): one.interval for one in perception.lines}
    points = [
        (one.label, one.interval.mean, mate.mean)
        for one in distortion.lines
        if one.interval and (mate := other.get((one.method, one.prior)))
    ]
    left, top, bottom, right = 46, 24, 300, WIDTH - 20
    lows = span([p[1] for p in points], 0.12), span([p[2] for p in points], 0.12)
    x = scale(*lows[0], left, right)
    ends = (bottom, top) if perception.higher_is_better else (top, bottom)
    y = scale(*lows[1], *ends)
    marks = x_axis(*lows[0], x, top, bottom) + y_axis(*lows[1], y, left, right)
    heights = apart([y(p[2]) for p in points], 15)
    for (label, psnr, score), height in zip(points, heights, strict=True):
        kind = "dot grey" if label == "identity" else "dot"
        marks.append(dot(x(psnr), y(score), kind, tip=f"{label}: {psnr:.2f} dB, {score:.2f}"))
        side = x(psnr) > (left + right) / 2
        at = x(psnr) - 9 if side else x(psnr) + 9
        marks.append(text(at, height + 4, _short(label), "end small" if side else "small"))
    arrow = "higher" if perception.higher_is_better else "lower"
    marks.append(text(left, 14, f"{perception.metric}, {arrow} is better, better is up", "small"))
    marks.append(text(right, bottom + 32, "psnr (dB), better is right", "end small"))
    caption = "Closeness to the reference against naturalness; a good method has both."
    title = "perception and distortion"
    return _figure(distortion.title, title, caption, bottom + 40, marks)


def expense_figure(table: Table) -> Figure:
    """Mean seconds per picture of every method as bars, with US dollars if any calls were paid."""
    rows = sorted(_scored_lines(table), key=lambda one: one.seconds)
    top = max(one.seconds for one in rows) or 1.0
    x = scale(0, top, LABEL, WIDTH - RIGHT - 70)
    marks: list[Mark] = []
    for row, one in enumerate(rows):
        y = ROW * row + 4
        cost = f", ${one.cost_usd / one.items:.3f}" if table.paid else ""
        marks.append(text(LABEL - 10, y + 15, _short(one.label), "end"))
        marks.append(bar(LABEL, y, x(one.seconds) - LABEL, ROW - 8, "rung"))
        marks.append(text(x(one.seconds) + 6, y + 14, f"{one.seconds:.2f} s{cost}", "small"))
    title = "cost and time per picture" if table.paid else "time per picture"
    caption = "Mean of all items, failed ones included; several were processed at once."
    return _figure(table.title, title, caption, ROW * len(rows) + 6, marks)


def ladder_figure(ladder: Rungs) -> Figure:
    """The loss ladder as bars: mean PSNR of priors, uncorrected and after each correction."""
    top = max(psnr for _, psnr in ladder.steps) or 1.0
    marks: list[Mark] = []
    for index, (name, psnr) in enumerate(ladder.steps):
        y, length = ROW * index + 4, max(psnr, 0) / top * (WIDTH - LABEL - RIGHT)
        gain = f" ({psnr - ladder.steps[index - 1][1]:+.2f})" if index else ""
        marks.append(text(LABEL - 10, y + 15, _short(name), "end"))
        marks.append(bar(LABEL, y, length, ROW - 8, "rung"))
        if index:
            before = max(ladder.steps[index - 1][1], 0) / top * (WIDTH - LABEL - RIGHT)
            if length > before:
                marks.append(bar(LABEL + before, y, length - before, ROW - 8, "step"))
        marks.append(text(LABEL + 8, y + 14, f"{psnr:.2f} dB{gain}", "inside"))
    title = f"{ladder.task}: loss ladder"
    pictures = f"{ladder.n} pictures" if ladder.n > 1 else "one picture"
    caption = (
        f"PSNR of the prior alone ({ladder.source}) after more and more of its deviations are "
        f"corrected, mean over {pictures}, on the pixels that every step covers."
    )
    return _figure(ladder.source, title, caption, ROW * len(ladder.steps) + 10, marks)


def best_of_figure(qualities: Sequence[Quality]) -> Figure | None:
    """A curve per generator and task: the expected best value of a metric among K pictures that a
    service makes for one photo, over K. None if it was called only once for each photo."""
    curves = [one for one in qualities if len(one.best_of) > 1]
    if not curves:
        return None
    most = max(len(one.best_of) for one in curves)
    low, high = span([value for one in curves for value in one.best_of])
    left, top, bottom, right = 46, 10, 240, WIDTH - 200
    x, y = scale(1, most, left + 10, right), scale(low, high, bottom, top)
    marks = y_axis(low, high, y, left, right)
    marks += [text(x(k), bottom + 16, f"{k}", "middle small") for k in range(1, most + 1)]
    heights = apart([y(one.best_of[-1]) for one in curves], 15)
    for one, height in zip(curves, heights, strict=True):
        places = [(x(k), y(value)) for k, value in enumerate(one.best_of, 1)]
        marks.append(Mark("curve", tuple(places), "curve"))
        marks += [dot(px, py) for px, py in places]
        marks.append(text(right + 12, height + 4, _short(f"{one.task}, {one.source}"), "small"))
    metric = curves[0].metric
    caption = f"Expected {metric} of the best of K pictures for one photo, chosen by the reference."
    return _figure("", "best of K", caption, bottom + 24, marks)
