"""Alignment of many pairs of a photo and an edit of it: register, crop to the common area, report.

`tables` reads the pairs. The result of each pair is a row in an SQLite database, so that a stopped
run can be continued; at the end all rows are written as one table, in the order of the pairs.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from verax import image as images
from verax.align.tables import EditPair, parquet
from verax.bench.engines import ENGINES
from verax.errors import InputError, MissingExtraError, RunError, SettingsError, choose
from verax.geometry.register import Registration, WarpedPrior, apply, register
from verax.image import Image, Plane, replace_file
from verax.store import Presence, open_database, transaction

MIGRATIONS = (
    "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL);"
    "CREATE TABLE rows (pair INTEGER PRIMARY KEY, row TEXT NOT NULL)",
)
COLUMNS = (
    "index", "name", "verdict", "reason", "photo_file", "edited_file", "width", "height", "box",
    "score", "p_value", "coverage", "confidence", "canvas", "matrix", "photo", "edited",
)  # fmt: skip
Tell = Callable[[int, int, "Counter[str]"], None]  # (pairs done, all pairs, pairs by verdict)
SHOWN = 0.999  # fraction from which a photo pixel counts as covered by the edit
MASK_PX = 256  # long side of the mask in which the largest rectangle is searched
PER_FOLDER = 1000  # pairs per folder of written pictures
Box = tuple[int, int, int, int]  # left, top, right, bottom in px, right and bottom exclusive


@dataclass(frozen=True, slots=True)
class AlignOptions:
    """Options for the alignment of every pair.

    Attributes:
        size: long side in px to which larger pictures are reduced first; 0: no reduction.
        min_share: least fraction of the photo, in [0, 1], that the edit must show.
        roughly: whether to write also pairs that could be placed only "roughly".
        suffix: suffix of the written files with its dot, which sets their format.
    """

    size: int = 0
    min_share: float = 0.25
    roughly: bool = False
    suffix: str = ".png"


def align(pair: EditPair, *, folder: Path, options: AlignOptions) -> dict[str, Any]:
    """Align one pair, and write both pictures, cropped to their common area, below `folder`.

    Returns its row of the table by column name. The "verdict" is `Registration.placed`, "too_small"
    (common area) or "unreadable". Pictures are written for "exactly" and, if allowed, "roughly".
    """
    cv2.setNumThreads(1)  # workers share the cores between pairs
    row: dict[str, Any] = {
        "index": pair.index,
        "name": pair.name,
        "photo": str(pair.photo),
        "edited": str(pair.edited),
    }
    try:
        photo, edited = (
            _open(side.read(), str(side), options.size) for side in (pair.photo, pair.edited)
        )
        return row | _align(pair, photo, edited, folder, options)
    except InputError as exc:
        return row | {"verdict": "unreadable", "reason": str(exc)}


def _open(data: bytes, name: str, size: int) -> Image:
    pixels = images.decode(data, name=name).pixels
    images.check_size(pixels, name=name)
    height, width = pixels.shape[:2]
    scale = size / max(height, width) if size else 1.0
    if scale >= 1.0:
        return pixels
    small = max(16, round(width * scale)), max(16, round(height * scale))
    reduced = cv2.resize(pixels, small, interpolation=cv2.INTER_AREA)
    return np.asarray(np.clip(reduced, 0, 1), np.float32)


def _align(
    pair: EditPair, photo: Image, edited: Image, folder: Path, options: AlignOptions
) -> dict[str, Any]:
    registration = register(photo, edited)
    facts = {"verdict": registration.placed, "reason": registration.reason, **figures(registration)}
    if registration.placed != "exactly" and not (
        registration.placed == "roughly" and options.roughly
    ):
        return facts
    warped: WarpedPrior = apply(registration, edited, size=(photo.shape[1], photo.shape[0]))
    left, top, right, bottom = box = seen_box(warped.valid)
    share = (right - left) * (bottom - top) / warped.valid.size
    if share < options.min_share or min(right - left, bottom - top) < images.MIN_SIDE:
        return facts | {
            "verdict": "too_small",
            "reason": f"expected a common area of at least {options.min_share:.0%} of the photo "
            f"and {images.MIN_SIDE} px on each side, got {share:.0%} "
            f"({right - left}x{bottom - top} px)",
        }
    place = f"{pair.index // PER_FOLDER:05d}"
    (folder / place).mkdir(parents=True, exist_ok=True)
    files = {}
    for side, pixels in (("photo", photo), ("edited", warped.pixels)):
        files[f"{side}_file"] = f"{place}/{pair.index:08d}.{side}{options.suffix}"
        crop = np.ascontiguousarray(pixels[top:bottom, left:right])
        images.write(folder / files[f"{side}_file"], crop)
    width, height = right - left, bottom - top
    return facts | files | {"box": json.dumps(box), "width": width, "height": height}


def figures(registration: Registration) -> dict[str, Any]:
    """The columns "score" to "matrix" of a registration, rounded to be equal on every machine."""
    return {
        "score": round(registration.score, 4),
        "p_value": float(f"{registration.p_value:.3g}"),
        "coverage": round(registration.coverage, 4),
        "confidence": round(float(registration.confidence.mean()), 4),
        "canvas": registration.canvas,
        "matrix": json.dumps([[round(float(v), 6) for v in row] for row in registration.matrix]),
    }


def seen_box(valid: Plane) -> Box:
    """The largest rectangle (left, top, right, bottom) that the edit covers completely, photo px.

    Right and bottom are exclusive; all are 0 if there is none. `valid` (H, W): covered fraction of
    each photo pixel. A cell of the reduced mask that is searched counts if it is covered wholly.
    """
    height, width = valid.shape
    step = -(-max(height, width) // MASK_PX)
    rows, columns = -(-height // step), -(-width // step)
    spare = ((0, rows * step - height), (0, columns * step - width))
    whole = np.pad(valid >= SHOWN, spare, constant_values=True)
    mask = whole.reshape(rows, step, columns, step).min(axis=(1, 3))
    left, top, right, bottom = _largest_rectangle(mask.astype(bool))
    return left * step, top * step, min(right * step, width), min(bottom * step, height)


def _largest_rectangle(mask: NDArray[np.bool_]) -> Box:
    """The largest rectangle of True cells, found in linear time: (left, top, right, bottom), right
    and bottom exclusive; all 0 if no cell is True."""
    best: Box = (0, 0, 0, 0)
    area = 0
    heights = [0] * mask.shape[1]
    for row in range(mask.shape[0]):
        heights = [
            h + 1 if shown else 0 for h, shown in zip(heights, mask[row].tolist(), strict=True)
        ]
        stack: list[tuple[int, int]] = []  # (first column, height)
        for column, height in enumerate([*heights, 0]):
            start = column
            while stack and stack[-1][1] >= height:
                start, tall = stack.pop()
                if tall * (column - start) > area:
                    area = tall * (column - start)
                    best = (start, row + 1 - tall, column, row + 1)
            stack.append((start, height))
    return best


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of a run.

    Attributes:
        verdicts: number of pairs by verdict (see `align`), including those of earlier runs.
        new: number of pairs aligned by this run.
        tables: paths of the written tables.
    """

    verdicts: dict[str, int]
    new: int
    tables: tuple[Path, ...]


def run(
    pairs: Sequence[EditPair],
    folder: Path,
    options: AlignOptions,
    *,
    engine: str = "processes",
    workers: int = 1,
    address: str | None = None,
    tell: Tell = lambda done, total, verdicts: None,
) -> Summary:
    """Align every pair that has no row in `folder` yet, and write the tables there.

    A stopped run is continued by the same call; only pairs that were in progress are repeated.

    Args:
        engine: "threads", "processes" or "ray", with `workers` workers.
        address: that of a running Ray cluster; None: Ray starts one on this machine.
        tell: called after each pair with the pairs done, all pairs, and the pairs by verdict.

    Raises SettingsError if `folder` holds a run with other pairs or options, RunError if another
    process works in `folder`.
    """
    go = partial(choose(ENGINES, engine, kind="engine"), workers=workers)
    if address is not None:
        go = partial(go, address=address)
    presence = _alone(folder / "running")
    database = open_database(folder / "align.sqlite", MIGRATIONS)
    try:
        _claim(database, options, len(pairs), folder)
        known = {
            int(r["pair"]): json.loads(r["row"]) for r in database.execute("SELECT * FROM rows")
        }
        _check_same(pairs, known, folder)
        verdicts = Counter(row["verdict"] for row in known.values())
        stage = partial(align, folder=folder.resolve() / "pairs", options=options)
        remaining = [pair for pair in pairs if pair.index not in known]
        for row in go(stage, remaining):
            with transaction(database):
                database.execute("INSERT INTO rows VALUES (?, ?)", (row["index"], json.dumps(row)))
            verdicts[row["verdict"]] += 1
            tell(verdicts.total(), len(pairs), verdicts)
        tables = write_tables(_rows(database), folder)
        return Summary(dict(sorted(verdicts.items())), len(remaining), tables)
    finally:
        database.close()
        presence.close()


def _alone(folder: Path) -> Presence:
    Presence.sweep(folder)
    if folder.is_dir() and any(folder.glob("[!.]*")):
        raise RunError(
            f"{folder.parent}: another process is aligning pairs in this folder; wait until it "
            "ends, or choose another folder with -o"
        )
    return Presence(folder)


def _claim(database: Any, options: AlignOptions, count: int, folder: Path) -> None:  # noqa: ANN401
    """Store options and number of pairs (`count`) in the database of the run in `folder`, or raise
    SettingsError if it has others from an earlier run."""
    current = {**asdict(options), "pairs": count}
    stored = database.execute("SELECT value FROM about WHERE name = 'options'").fetchone()
    if stored is None:
        with transaction(database):
            database.execute("INSERT INTO about VALUES ('options', ?)", (json.dumps(current),))
        return
    earlier = json.loads(stored["value"])
    other = [f"{k}: {earlier.get(k)}, now {v}" for k, v in current.items() if earlier.get(k) != v]
    if other:
        raise SettingsError(
            f"{folder}: this folder holds a run with other options ({'; '.join(other)}); use "
            "the earlier options, or choose another folder with -o"
        )


def _check_same(pairs: Sequence[EditPair], known: dict[int, dict[str, Any]], folder: Path) -> None:
    """Raise SettingsError if `known`, the stored rows by pair index, has other files for a pair."""
    for pair in pairs:
        row = known.get(pair.index)
        if row and (row["photo"], row["edited"]) != (str(pair.photo), str(pair.edited)):
            raise SettingsError(
                f"{folder}: expected the same pairs as in its last run, but pair {pair.index} was "
                f"{row['photo']} with {row['edited']} and is now {pair.photo} with {pair.edited}; "
                "choose another folder with -o"
            )


def _rows(database: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401  # sqlite3.Connection
    for entry in database.execute("SELECT row FROM rows ORDER BY pair"):
        yield dict.fromkeys(COLUMNS) | json.loads(entry["row"])


def write_tables(rows: Iterator[dict[str, Any]], folder: Path) -> tuple[Path, ...]:
    """Write pairs.csv, and with pyarrow also pairs.parquet, into `folder`; returns the paths."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    every = list(rows)
    writer.writerows(every)
    files = [folder / "pairs.csv"]
    replace_file(files[0], text.getvalue().encode())
    try:
        writer_of = parquet()
    except MissingExtraError:
        return tuple(files)
    files.append(folder / "pairs.parquet")
    import pyarrow as pa

    writer_of.write_table(pa.table({n: [row[n] for row in every] for n in COLUMNS}), files[1])
    return tuple(files)
