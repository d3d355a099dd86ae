"""What a report is made from: the rows of one stored run, read once."""

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from verax.bench.record import OutputRow, Record, ScoreRow


@dataclass(frozen=True, slots=True)
class Results:
    """The rows of a run: outputs, scores by key, deviations by key (where they were measured)."""

    outputs: list[OutputRow]
    scores: dict[str, list[ScoreRow]]
    deviations: dict[str, dict[str, Any]]


def read(record: Record) -> Results:
    """Everything of a run that a report needs."""
    scores: dict[str, list[ScoreRow]] = defaultdict(list)
    for row in record.scores():
        scores[row.key].append(row)
    told = ((key, json.loads(text)) for key, text in record.deviations())
    deviations = {key: one for key, one in told if "failed" not in one}
    return Results(list(record.outputs()), dict(scores), deviations)


def label_of(method: str, prior: str) -> str:
    """How a line of a table is called."""
    return method if prior == "none" else f"{method} ({prior})"


def values_of(results: Results, metric: str) -> dict[str, float]:
    """One metric by key, where it could be had."""
    return {
        s.key: s.value
        for several in results.scores.values()
        for s in several
        if s.metric == metric and s.value is not None
    }
