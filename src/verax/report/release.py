"""A run as a dataset ready to publish: pictures, index, tar shards, card, request template.

DIR/README.md               the dataset card
DIR/test/metadata.parquet   one row per picture, in the image-folder layout of Hugging Face; .csv
                            where the packages for Parquet are not installed
DIR/test/images/KEY.png
DIR/webdataset/*.tar        the same as WebDataset shards (KEY.png, KEY.json)
DIR/withheld.csv            outputs that are not published because of their photo's licence
DIR/without_output.csv      outputs that were refused, failed or had no prior, with the reasons
DIR/run.json                plan and environment
DIR/REQUEST.md              template for requesting further sets
"""

import hashlib
import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from verax.bench import OUTCOMES, OutputRow, Record, total_cost
from verax.bench.work import prompt_text
from verax.errors import InputError, SettingsError
from verax.image.places import has_place
from verax.provenance import has_manifest
from verax.report.export import markdown, write_csv, write_parquet
from verax.report.leaderboard import leaderboards
from verax.report.results import Results, read

PER_SHARD = 1000
FORBIDS = re.compile(
    r"research|no redistribution|none stated|none at|unknown|proprietary|all rights reserved"
    r"|\bND\b|no.?deriv|(own|original) terms|terms of|collected from|looks like",
    re.IGNORECASE,
)
ALLOWS = re.compile(
    r"\bCC0|\bCC[ -]?BY|public domain|unrestricted|\bMIT\b|Apache|\bBSD\b|Unsplash|\bPD\b",
    re.IGNORECASE,
)
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**12, "100K<n<1M"))

REQUEST = """# Ask for a further set

Copy this, fill it in, and open an issue.

- Task and dataset (name, split, licence, where it may be had):
- Models and snapshots, prompts, repeats:
- Methods and priors (see `verax bench methods`):
- Metrics and protocol:
- May the outputs be published under the dataset's licence? Who says so?
- What it may cost, who pays:
- What the answer will be used for:
"""


@dataclass(frozen=True, slots=True)
class ReleaseRows:
    """The rows of a release: outputs that are published, outputs withheld because of their photo's
    licence, and items without an output."""

    published: list[dict[str, Any]]
    withheld: list[dict[str, Any]]
    without_output: list[dict[str, Any]]


def release(record: Record, folder: Path, *, licence: str = "") -> ReleaseRows:
    """Write the outputs of a run as a dataset (pictures, index, card) into an empty folder.

    `licence` is taken for photos whose licence is not stated. Raises SettingsError if the folder is
    not empty, InputError if a stored output is missing, was changed or has a GPS position.
    """
    if folder.exists() and any(folder.iterdir()):
        raise SettingsError(
            f"{folder}: expected an empty or new folder, found files in it; choose another folder"
        )
    results = read(record)
    licensed = [replace(row, licence=row.licence.strip() or licence) for row in results.outputs]
    results = replace(results, outputs=licensed)
    pictures = folder / "test" / "images"
    pictures.mkdir(parents=True)
    published = []
    for row in results.outputs:
        if row.sha256 and not may_publish(row.licence):
            data = _bytes(record, row)
            (pictures / f"{row.key}.png").write_bytes(data)
            published.append(_index_row(row, results, data))
    withheld = [
        _name(row) | {"licence": row.licence, "reason": may_publish(row.licence)}
        for row in results.outputs
        if row.sha256 and may_publish(row.licence)
    ]
    without = [
        _name(row) | {"outcome": row.outcome, "reason": _without_folder(row)}
        for row in results.outputs
        if not row.sha256
    ]
    if published:
        index = folder / "test" / "metadata"  # .csv or .parquet, the names of an image folder
        if find_spec("pyarrow") is None:
            write_csv(index.with_suffix(".csv"), list(published[0]), published)
        else:
            write_parquet(index.with_suffix(".parquet"), list(published[0]), published)
        _write_shards(folder / "webdataset", pictures, published)
    write_csv(folder / "withheld.csv", [*NAMES, "licence", "reason"], withheld)
    write_csv(folder / "without_output.csv", [*NAMES, "outcome", "reason"], without)
    plan = record.about("plan")
    plan["datasets"] = [Path(name).name for name in plan["datasets"]]  # no paths of this machine
    about = {"plan": plan, "environments": record.environments()}
    (folder / "run.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    (folder / "REQUEST.md").write_text(REQUEST, encoding="utf-8")
    text = card(results, published, withheld, about, title=record.folder.resolve().name)
    (folder / "README.md").write_text(text, encoding="utf-8")
    return ReleaseRows(published, withheld, without)


def _bytes(record: Record, row: OutputRow) -> bytes:
    """The bytes of a stored output; InputError if it is missing, changed or has a GPS position."""
    path = record.output_path(row.key)
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != row.sha256:
        raise InputError(
            f"{path} is missing or was changed since the run; run the plan again in a new folder"
        )
    if has_place(data):
        raise InputError(
            f"{path} contains the position where the photo was taken, which must not be published; "
            "run the plan again in a new folder"
        )
    return data


NAMES = ("key", "task", "dataset", "item", "degradation", "method", "prior", "prompt", "repeat")


def _name(row: OutputRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in NAMES}


def _without_folder(row: OutputRow) -> str:
    """The reason of an output's outcome, in which files are named without their folders."""
    reason = row.reason
    for file in (row.photo, row.reference, row.prior_file):
        reason = reason.replace(f"{Path(file).parent}/", "") if file else reason
    return reason


def _index_row(row: OutputRow, results: Results, data: bytes) -> dict[str, Any]:
    """The row of an output in the published table; `results` has its scores, `data` is its PNG."""
    facts = asdict(row)
    for name in ("photo", "reference", "registration", "prior_file"):
        del facts[name]
    registration = json.loads(row.registration) if row.registration else {}
    scores = {s.metric: s.value for s in results.scores.get(row.key, ())}
    metrics = sorted({s.metric for several in results.scores.values() for s in several})
    return {
        "file_name": f"images/{row.key}.png",
        **facts,
        "reason": _without_folder(row),
        "transform": json.dumps(registration["matrix"]) if "matrix" in registration else "",
        "canvas": registration.get("canvas", ""),
        "placed": registration.get("placed", ""),
        "prior_c2pa": bool(row.prior_c2pa),
        "c2pa": has_manifest(data),
        **{metric: scores.get(metric) for metric in metrics},
    }


def _write_shards(folder: Path, pictures: Path, rows: list[dict[str, Any]]) -> None:
    """Write the PNGs in `pictures` and their `rows` (as JSON) as tar files of 1000 pictures each
    into `folder`, byte for byte reproducible."""
    folder.mkdir()
    for number, start in enumerate(range(0, len(rows), PER_SHARD)):
        with tarfile.open(folder / f"test-{number:06d}.tar", "w") as shard:
            for row in rows[start : start + PER_SHARD]:
                facts = json.dumps(row, sort_keys=True).encode()
                _add(shard, f"{row['key']}.png", (pictures / f"{row['key']}.png").read_bytes())
                _add(shard, f"{row['key']}.json", facts)


def _add(shard: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    shard.addfile(member, io.BytesIO(data))


def may_publish(licence: str) -> str:
    """ "" if outputs made from a photo with this licence may be published, else why not.

    The words of the licence decide; what they do not clearly allow is not published.
    """
    if not licence.strip():
        return "no licence is stated"
    reason = FORBIDS.search(licence)
    if reason:
        return f"its licence says: {reason.group()}"
    if not ALLOWS.search(licence):
        return f"its licence does not clearly allow publication: {licence}"
    return ""


def card(
    results: Results,
    published: list[dict[str, Any]],
    withheld: list[dict[str, Any]],
    about: dict[str, Any],
    *,
    title: str,
) -> str:
    """The dataset card: Markdown with the YAML head that dataset hubs read.

    `published`, `withheld` are rows of outputs; `about` has the run's plan and environments.
    """
    rows = results.outputs
    plan = about["plan"] or {}
    parts = [
        _head(published, title),
        f"# {title}",
        f"{len(rows)} items: {_counts(row.outcome for row in rows)}. Published here: "
        f"{len(published)} pictures; withheld for their licence: {len(withheld)} (withheld.csv); "
        f"without a picture: {sum(not row.sha256 for row in rows)} (without_output.csv). "
        f"Cost: ${total_cost(rows):.2f}. {sum(row['prior_c2pa'] for row in published)} pictures "
        "were made from a generated file with Content Credentials (C2PA); of the pictures here, "
        f"which are derived from them, {sum(row['c2pa'] for row in published)} have their own.",
        "## What there is",
        _table(
            ("task", "dataset", "method", "prior", "model", "items", *OUTCOMES),
            _groups(results),
        ),
        "## Columns",
        "`file_name`, `key` (hash of everything that decides the output), what was done (`task`, "
        "`dataset`, `item`, `degradation`, `method`, `prior`, `prompt`, `repeat`, `generator`), "
        "the result (`outcome`, `reason`, `seconds`, `cost_usd`, `width`, `height`), the "
        "photo's `licence`, `scene` (resample these), `seed`, `sha256` of the picture, "
        "`prior_sha256`, `prior_c2pa` and `prior_seconds` of the generated file as received, "
        "`transform` (3 x 3, prior px to photo px), `canvas`, `placed`, `c2pa`, and one column "
        "per metric.",
        "## Models",
        _table(("model, as stated by the service or the data set", "items"), _models(results)),
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
    counts = Counter(outcomes)
    return ", ".join(f"{counts[name]} {name}" for name in OUTCOMES if counts[name])


def _models(results: Results) -> list[tuple[str, int]]:
    return sorted(Counter(row.generator or "none" for row in results.outputs).items())


def _prompts(results: Results) -> str:
    """The prompts that services received, by task and name of the prompt, as Markdown."""
    wordings = sorted({(row.task, row.prompt) for row in results.outputs if row.prompt})
    if not wordings:
        return (
            "No service was called in this run; the data sets say how their generated pictures "
            "were made."
        )
    rows = [(task, name, prompt_text(task, name)) for task, name in wordings]
    table = _table(("task", "wording", "prompt"), rows)
    return f"Prompts as the services received them:\n\n{table}"


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
