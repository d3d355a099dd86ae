"""Leaderboards as LaTeX and Markdown: best and second best marked, the protocol in the caption."""

import json

from verax.report.leaderboard import Line, Table

_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
)


def number(value: float | None, digits: int = 2) -> str:
    """A number for people; a missing one is a dash, never a zero."""
    if value is None or value != value:
        return "–"
    return f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 2) -> str:
    """A difference for people, always with its sign."""
    if value is None or value != value:
        return "–"
    return f"{value:+.{digits}f}".replace("-", "−")


def protocol_words(text: str) -> str:
    """A stored protocol as words."""
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
    """A Markdown table; best in bold, second best in italics."""
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
    """A LaTeX table for the booktabs package; best in bold, second best underlined."""
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
        f"{way} is better; {table.pictures} pictures, mean over the scored ones with bootstrap "
        f"interval over {table.scenes} scenes, every outcome counted; the difference from doing "
        f"nothing; p of that and against the best, paired, Holm-adjusted. "
        f"{protocol_words(table.protocol)}."
    )


def _cells(table: Table, line: Line) -> list[str]:
    found = line.interval
    several = found is not None and found.scenes > 1
    return [
        number(found.mean) if found else "–",
        f"{number(found.low)} … {number(found.high)}" if found and several else "–",
        signed(line.gain.difference.mean) if line.gain else "–",
        number(line.p_gain, 3),
        f"{found.n if found else 0} of {line.items}",
        *(str(line.count(outcome)) for outcome in table.outcomes),
        number(line.p_adjusted, 3),
    ]


def _tex(text: str) -> str:
    return text.translate(_LATEX).replace("–", "--").replace("…", r"\ldots{}").replace("−", "$-$")
