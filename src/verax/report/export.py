"""Writes a run as files for other programs: CSV, Parquet, LaTeX, Markdown, plots.

results.csv has one row per output; scores.csv has one row per value of a metric, with its protocol.
Both are also written as Parquet. comparisons.csv has one row per pair of methods in a table, which
are compared picture by picture. The tables in tables.md and tables.tex mark the best and the second
best method, and state the protocol in their captions.
"""

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from verax.bench import OutputRow, ScoreRow
from verax.errors import missing_extra, quantity
from verax.report import Figure
from verax.report.breakdown import ladders, qualities
from verax.report.figures import run_figures
from verax.report.leaderboard import Line, Table, leaderboards
from verax.report.results import (
    Results,
    adjust_by_holm,
    compare_lines,
    group,
    label_of,
    mean_per_picture,
    scene_of,
)

PLOT_FORMATS = ("png", "svg", "pdf")
_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
)


def export(results: Results, folder: Path, *, plots: bool = True) -> list[Path]:
    """Write a run as CSV, Parquet, tables.tex, tables.md and plots/. Returns the files written.

    Parquet and plots need the packages of the extra `bench`; without them they are not written.
    `plots` says whether plots are wanted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    columns, rows = wide(results)
    scores = [asdict(s) for several in results.scores.values() for s in several]
    written = []
    for name, head, lines in (
        ("results", columns, rows),
        ("scores", [field.name for field in fields(ScoreRow)], scores),
    ):
        written.append(folder / f"{name}.csv")
        write_csv(written[-1], head, lines)
        if find_spec("pyarrow") is not None:
            written.append(folder / f"{name}.parquet")
            write_parquet(written[-1], head, lines)
    tables = leaderboards(results)
    written.append(folder / "comparisons.csv")
    pairs = [asdict(pair) for pair in line_pairs(results)]
    write_csv(written[-1], [field.name for field in fields(LinePair)], pairs)
    for name, form in (("tables.tex", latex), ("tables.md", markdown)):
        written.append(folder / name)
        written[-1].write_text("\n".join(map(form, tables)), encoding="utf-8")
    if plots and find_spec("matplotlib") is not None:
        figures = run_figures(tables, ladders(results), qualities(results))
        written += _save_figures(figures, folder / "plots")
    return written


def write_csv(path: Path, head: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write the rows, dicts by name of the column, as one CSV file with the columns `head`."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, head)
        writer.writeheader()
        writer.writerows(rows)


def wide(results: Results) -> tuple[list[str], list[dict[str, Any]]]:
    """(names of columns, rows) of a table with one row per output, which includes its scores, their
    protocols and its drift (the size of all deviations, 0..100)."""
    metrics = sorted({s.metric for several in results.scores.values() for s in several})
    columns = [field.name for field in fields(OutputRow)]
    columns += [name for metric in metrics for name in (metric, f"{metric}_protocol")]
    columns += ["drift"]
    rows = []
    for output in results.outputs:
        row: dict[str, Any] = dict.fromkeys(columns) | asdict(output)
        for score in results.scores.get(output.key, ()):
            row[score.metric] = score.value
            row[f"{score.metric}_protocol"] = score.protocol
        row["drift"] = results.deviations.get(output.key, {}).get("drift")
        rows.append(row)
    return columns, rows


def write_parquet(path: Path, columns: list[str], rows: list[dict[str, Any]]) -> None:
    """Write the rows as one Parquet file. Raises MissingExtraError without pyarrow."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as exc:
        raise missing_extra("Parquet", "bench") from exc
    pq.write_table(pa.table({name: [row[name] for row in rows] for name in columns}), path)


def _save_figures(figures: Sequence[Figure], folder: Path) -> list[Path]:
    """Write every plot into a folder as PNG, SVG and PDF; returns the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for figure in figures:
        name = "".join(c if c.isalnum() else "_" for c in figure.label)
        paths = [folder / f"{name}.{suffix}" for suffix in PLOT_FORMATS]
        figure.save(paths)
        written += paths
    return written


@dataclass(frozen=True, slots=True, kw_only=True)
class LinePair:
    """The comparison of two methods, A and B, on the pictures for which both have a value.

    Attributes:
        subset: which pictures of the task were compared, in words; "" for all.
        line_a, line_b: methods with their kind of prior, such as "full (files)".
        difference, low, high: mean of A minus B, and its 95 % bootstrap interval over scenes.
        pictures, scenes: how many were compared.
        wins: share of pictures on which A has the higher value; ties count half.
        p_value, p_adjusted: p value of the difference, alone and Holm-adjusted over the table.
    """

    task: str
    degradation: str
    subset: str
    metric: str
    protocol: str
    line_a: str
    line_b: str
    difference: float
    low: float
    high: float
    pictures: int
    scenes: int
    wins: float
    p_value: float
    p_adjusted: float


def line_pairs(results: Results, *, seed: int = 0) -> list[LinePair]:
    """Compare every two methods of every table that have pictures of two scenes in common.

    `seed` is that of the bootstrap.
    """
    pairs = []
    for subset, outputs, metric, protocol, values in group(results):
        rows: dict[str, list[OutputRow]] = defaultdict(list)
        for o in outputs:
            rows[label_of(o.method, o.prior)].append(o)
        lines = {label: mean_per_picture(several, values) for label, several in rows.items()}
        scenes = {(o.dataset, o.item): scene_of(o) for o in outputs}
        names, rng = list(combinations(sorted(lines), 2)), np.random.default_rng(seed)
        compared = [compare_lines(lines[a], lines[b], scenes, rng) for a, b in names]
        first = outputs[0]
        pairs += [
            LinePair(
                task=first.task,
                degradation=first.degradation,
                subset=subset,
                metric=metric,
                protocol=protocol,
                line_a=a,
                line_b=b,
                difference=c.difference.mean,
                low=c.difference.low,
                high=c.difference.high,
                pictures=c.difference.n,
                scenes=c.difference.scenes,
                wins=c.wins,
                p_value=c.p_value,
                p_adjusted=p_adjusted,
            )
            for (a, b), c, p_adjusted in zip(names, compared, adjust_by_holm(compared), strict=True)
            if c is not None
        ]
    return pairs


def number(value: float | None, digits: int = 2) -> str:
    """A number as text with `digits` decimals; a dash for None and NaN."""
    if value is None or value != value:
        return "–"
    return f"{value:.{digits}f}"


def with_sign(value: float | None, digits: int = 2) -> str:
    """A difference as text with its sign and `digits` decimals; a dash for None and NaN."""
    if value is None or value != value:
        return "–"
    return f"{value:+.{digits}f}".replace("-", "−")


def protocol_words(text: str) -> str:
    """Turn a protocol, stored as a JSON list (metric, channel, border ...), into words."""
    try:
        metric, channel, border, data_range, resampler, kernel, library, version = json.loads(text)
    except ValueError:
        return ", ".join(map(str, json.loads(text)))
    parts = [
        f"{metric} on {channel}, border {border} px, range {data_range:g}",
        f"resampler {resampler}",
        kernel,
        f"{library} {version}",
    ]
    return ", ".join(part for part in parts if part)


def markdown(table: Table) -> str:
    """The table as Markdown; the best method is in bold, the second best in italics."""
    head = ["method", _heading(table), "95 % interval", "vs nothing", "p vs nothing", "scored"]
    head += [*_words(table.outcomes), "p"]
    rows = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for line in table.lines:
        marks = {1: "**", 2: "*"}.get(line.place, "") if line.interval else ""
        cells = _cells(table, line)
        label = line.label.replace("|", "\\|")
        rows.append("| " + " | ".join([label, f"{marks}{cells[0]}{marks}", *cells[1:]]) + " |")
    return "\n".join([f"**{table.title}.** {_caption(table)}", "", *rows, ""])


def latex(table: Table) -> str:
    """The table as LaTeX for the package booktabs; the best method is in bold, the second best is
    underlined."""
    head = ["method", _heading(table), r"95\,\% interval", "vs nothing", "$p$ vs nothing", "scored"]
    head += [*_words(table.outcomes), "$p$"]
    rows = []
    for line in table.lines:
        mark = {1: r"\textbf", 2: r"\underline"}.get(line.place, "") if line.interval else ""
        cells = _cells(table, line)
        best = f"{mark}{{{cells[0]}}}" if mark else cells[0]
        rows.append(" & ".join([_tex(line.label), best, *map(_tex, cells[1:])]) + r" \\")
    heading = " & ".join([head[0], _tex(head[1]), *head[2:]])
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_tex(table.title)}. {_tex(_caption(table))}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            heading + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _heading(table: Table) -> str:
    return f"{table.metric} ({table.unit})" if table.unit else table.metric


def _words(outcomes: tuple[str, ...]) -> list[str]:
    return [outcome.replace("_", " ") for outcome in outcomes]


def _caption(table: Table) -> str:
    way = "Higher" if table.higher_is_better else "Lower"
    return (
        f"{way} is better. {quantity(table.pictures, 'picture')}; mean over the scored ones, with "
        f"its bootstrap interval over {quantity(table.scenes, 'scene')}; every outcome is counted. "
        "vs nothing: difference from the unchanged photo, and its p; last column: p of the "
        "difference from the best method. Both p are paired by picture and Holm-adjusted. "
        f"{protocol_words(table.protocol)}."
    )


def _cells(table: Table, line: Line) -> list[str]:
    mean = line.interval
    several = mean is not None and mean.scenes > 1
    return [
        number(mean.mean) if mean else "–",
        f"{number(mean.low)} … {number(mean.high)}" if mean and several else "–",
        with_sign(line.gain.difference.mean) if line.gain else "–",
        number(line.p_gain, 3),
        f"{mean.n if mean else 0} of {line.items}",
        *(str(line.count(outcome)) for outcome in table.outcomes),
        number(line.p_adjusted, 3),
    ]


def _tex(text: str) -> str:
    return text.translate(_LATEX).replace("–", "--").replace("…", r"\ldots{}").replace("−", "$-$")
