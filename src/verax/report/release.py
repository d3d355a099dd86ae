"""A run as a dataset ready to publish: pictures, index, tar shards, card, request template.

DIR/README.md               the dataset card
DIR/test/metadata.parquet   one row per picture, in the image-folder layout of Hugging Face
DIR/test/images/KEY.png
DIR/webdataset/*.tar        the same as WebDataset shards (KEY.png, KEY.json)
DIR/withheld.csv            rows left out for their licence, by name
DIR/without_output.csv      refusals, failures and abstentions: counted, never dropped
DIR/run.json                plan and environment
DIR/REQUEST.md              template for asking for further sets
"""

import csv
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from verax.bench.record import OutputRow, Record
from verax.errors import InputError, SettingsError
from verax.image.places import left_in
from verax.provenance import has_manifest
from verax.report.card import REQUEST, card
from verax.report.export import write_parquet
from verax.report.licences import may_publish
from verax.report.results import Results, read

PER_SHARD = 1000


@dataclass(frozen=True, slots=True)
class Released:
    """What a release holds: published rows, withheld rows with the reason, rows without output."""

    published: list[dict[str, Any]]
    withheld: list[dict[str, Any]]
    without_output: list[dict[str, Any]]


def release(record: Record, folder: Path, *, licence: str = "") -> Released:
    """Write the release of a run into an empty folder.

    `licence` is of the photos for which none is stated. Raises SettingsError for a folder that is
    not empty, InputError for a stored picture that was changed.
    """
    if folder.exists() and any(folder.iterdir()):
        raise SettingsError(f"{folder}: want an empty folder for the release, this one has files")
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
    found = Released(published, withheld, without)
    if published:
        write_parquet(folder / "test" / "metadata.parquet", list(published[0]), published)
        _write_shards(folder / "webdataset", pictures, published)
    _write_csv(folder / "withheld.csv", withheld, ("licence", "reason"))
    _write_csv(folder / "without_output.csv", without, ("outcome", "reason"))
    plan = record.about("plan")
    plan["datasets"] = [Path(name).name for name in plan["datasets"]]  # not where they lie here
    about = {"plan": plan, "environments": record.environments()}
    (folder / "run.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    (folder / "REQUEST.md").write_text(REQUEST, encoding="utf-8")
    text = card(results, published, withheld, about, title=record.folder.resolve().name)
    (folder / "README.md").write_text(text, encoding="utf-8")
    return found


def _bytes(record: Record, row: OutputRow) -> bytes:
    """The stored output; an error where it is no longer what was stored."""
    path = record.output_path(row.key)
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != row.sha256:
        raise InputError(f"{path} is missing or was changed since the run; run the plan again")
    if left_in(data):
        raise InputError(f"{path} says where a photo was taken and is not published; remove it")
    return data


NAMES = ("key", "task", "dataset", "item", "degradation", "method", "prior", "prompt", "repeat")


def _name(row: OutputRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in NAMES}


def _without_folder(row: OutputRow) -> str:
    """The reason without where the pictures lie on this machine."""
    reason = row.reason
    for file in (row.photo, row.reference, row.prior_file):
        reason = reason.replace(f"{Path(file).parent}/", "") if file else reason
    return reason


def _index_row(row: OutputRow, results: Results, data: bytes) -> dict[str, Any]:
    """What the index says of one picture; no path of this machine is in it."""
    facts = asdict(row)
    for name in ("photo", "reference", "registration", "prior_file"):
        del facts[name]
    found = json.loads(row.registration) if row.registration else {}
    scores = {s.metric: s.value for s in results.scores.get(row.key, ())}
    metrics = sorted({s.metric for several in results.scores.values() for s in several})
    return {
        "file_name": f"images/{row.key}.png",
        **facts,
        "reason": _without_folder(row),
        "transform": json.dumps(found["matrix"]) if "matrix" in found else "",
        "canvas": found.get("canvas", ""),
        "placed": found.get("placed", ""),
        "prior_c2pa": bool(row.prior_c2pa),
        "c2pa": has_manifest(data),
        **{metric: scores.get(metric) for metric in metrics},
    }


def _write_shards(folder: Path, pictures: Path, rows: list[dict[str, Any]]) -> None:
    """Tar files of PER_SHARD pictures with their facts, the same bytes on every machine."""
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


def _write_csv(path: Path, rows: Iterable[dict[str, Any]], more: tuple[str, ...]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*NAMES, *more])
        writer.writeheader()
        writer.writerows(rows)
