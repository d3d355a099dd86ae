"""The card of a released dataset: what it holds, how it was made, what is missing and why."""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from verax.bench.record import OUTCOMES, spent
from verax.bench.work import prompt_text
from verax.report.leaderboard import leaderboards
from verax.report.results import Results
from verax.report.tables import markdown

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**12, "100K<n<1M"))

REQUEST = """# Ask for a further set

Copy this, fill it in, and open an issue.

- Task and dataset (name, split, licence, where it may be had):
- Models and snapshots to be asked, prompts, repeats:
- Methods and priors (see `verax bench methods`):
- Metrics and protocol:
- May the outputs be published under the dataset's licence? Who says so?
- What it may cost, who pays:
- What the answer will be used for:
"""


def card(
    results: Results,
    published: list[dict[str, Any]],
    withheld: list[dict[str, Any]],
    about: dict[str, Any],
    *,
    title: str,
) -> str:
    """The card as Markdown with the YAML head that dataset hubs read."""
    rows = results.outputs
    plan = about["plan"] or {}
    parts = [
        _head(published, title),
        f"# {title}",
        f"{len(rows)} items: {_counts(row.outcome for row in rows)}. Published here: "
        f"{len(published)} pictures; withheld for their licence: {len(withheld)} (withheld.csv); "
        f"without a picture: {sum(not row.sha256 for row in rows)} (without_output.csv). "
        f"Cost: ${spent(rows):.2f}. Made from a generated file with Content Credentials (C2PA): "
        f"{sum(row['prior_c2pa'] for row in published)} pictures; the pictures here are derived "
        f"ones, {sum(row['c2pa'] for row in published)} carry credentials themselves.",
        "## What there is",
        _table(
            ("task", "dataset", "method", "prior", "model", "items", *OUTCOMES),
            _groups(results),
        ),
        "## Columns",
        "`file_name`, `key` (hash of everything that decides the output), what was done (`task`, "
        "`dataset`, `item`, `degradation`, `method`, `prior`, `prompt`, `repeat`, `generator`), "
        "what came of it (`outcome`, `reason`, `seconds`, `cost_usd`, `width`, `height`), the "
        "photo's `licence`, `scene` (resample these), `seed`, `sha256` of the picture, "
        "`prior_sha256`, `prior_c2pa` and `prior_seconds` of the generated file as it came, "
        "`transform` (3 x 3, prior px to photo px), `canvas`, `placed`, `c2pa`, and one column "
        "per metric.",
        "## Models",
        _table(("model, as the service or the data set tells", "items"), _models(results)),
        "## Licences",
        _table(("licence", "pictures"), Counter(row["licence"] for row in published).items()),
        "## Results",
        *(markdown(table) for table in leaderboards(results)),
        "## How it was made",
        _prompts(results),
        f"Plan and parameters:\n\n```json\n{json.dumps(plan, indent=1)}\n```",
        f"Environments:\n\n```json\n{json.dumps(about['environments'], indent=1)}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _head(published: list[dict[str, Any]], title: str) -> str:
    size = next(name for limit, name in SIZES if len(published) < limit)
    return (
        f"---\npretty_name: {json.dumps(title)}\nlicense: other\ntask_categories:\n"
        "- image-to-image\ntags:\n- image-restoration\n- benchmark\nsize_categories:\n"
        f"- {size}\nconfigs:\n- config_name: default\n  data_files:\n  - split: test\n"
        "    path: test/**\n---"
    )


def _counts(outcomes: Iterable[str]) -> str:
    found = Counter(outcomes)
    return ", ".join(f"{found[name]} {name}" for name in OUTCOMES if found[name])


def _models(results: Results) -> list[tuple[str, int]]:
    return sorted(Counter(row.generator or "none" for row in results.outputs).items())


def _prompts(results: Results) -> str:
    """What providers were told, by task and wording."""
    wordings = sorted({(row.task, row.prompt) for row in results.outputs if row.prompt})
    if not wordings:
        return (
            "No service was asked in this run; how generated pictures came about, their data "
            "sets tell."
        )
    rows = [(task, name, prompt_text(task, name)) for task, name in wordings]
    return "The prompts that the services got:\n\n" + _table(("task", "wording", "prompt"), rows)


def _groups(results: Results) -> list[tuple[Any, ...]]:
    names = [(r.task, r.dataset, r.method, r.prior, r.generator or "–") for r in results.outputs]
    both = Counter((*n, r.outcome) for n, r in zip(names, results.outputs, strict=True))
    return [
        (*name, count, *(both[(*name, outcome)] for outcome in OUTCOMES))
        for name, count in sorted(Counter(names).items())
    ]


def _table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    cells = ([str(cell).replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)
