"""Kill `verax align` again and again: python benchmarks/align.py --pairs 10000 --kills 100

Makes a WebDataset tar of small simulated pairs (scikit-image's pictures; shifted, scaled and
brightened edits; some of another scene, blank or unreadable) and aligns it. The run is killed with
SIGKILL at random moments, the command alone or with its workers, and restarted until it ends by
itself. The first pairs are also aligned without a kill, and by Ray on two workers. With
`--folder` the same command continues where it was stopped.

Checked at the end: one row for each pair and none twice, the files on disk are those of the table,
equal pairs have equal rows, and the rows of the run without kills and of Ray are identical.
Prints a table and, as last line, one JSON object; exit status 1 when a check fails.
"""

import argparse
import contextlib
import csv
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from skimage import data

from verax import image as images

SIDE = (56, 40)  # px
SIDES = ("photo", "edited")
DISTINCT = 200  # pairs that differ; the others are the same again under other names
KINDS = {"foreign": 0.05, "blank": 0.03, "broken": 0.02}  # shares; the rest shows one scene


def png(pixels: np.ndarray) -> bytes:
    return images.encode(np.ascontiguousarray(np.clip(pixels, 0, 1), np.float32))


def one_pair(rng: np.random.Generator) -> tuple[bytes, bytes]:
    """A photo and a simulated edit of it, each as the bytes of a PNG file."""
    pictures = (data.coffee, data.astronaut, data.chelsea, data.rocket)
    width, height = SIDE

    def crop() -> np.ndarray:
        picture = images.from_uint8(np.ascontiguousarray(pictures[rng.integers(4)]()))
        top, left = (
            int(rng.integers(0, n - s))
            for n, s in zip(picture.shape[:2], (height, width), strict=True)
        )
        return picture[top : top + height, left : left + width]

    photo = crop()
    kind = rng.choice([*KINDS, "same"], p=[*KINDS.values(), 1 - sum(KINDS.values())])
    if kind == "foreign":
        return png(photo), png(crop())
    if kind == "blank":
        return png(photo), png(np.full_like(photo, 0.5))
    if kind == "broken":
        return png(photo), png(photo)[:200]
    scale, shift = rng.uniform(0.97, 1.03), rng.uniform(-2, 2, 2)
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    moved = cv2.warpAffine(photo, matrix, SIDE, borderMode=cv2.BORDER_REFLECT_101)
    return png(photo), png(moved * rng.uniform(0.9, 1.2))


def make_pairs(path: Path, count: int, seed: int) -> None:
    """Write a tar with `count` pairs, KEY.photo.png and KEY.edited.png."""
    rng = np.random.default_rng(seed)
    distinct = [one_pair(rng) for _ in range(min(DISTINCT, count))]
    with tarfile.open(path, "w") as tar:
        for index in range(count):
            for side, content in zip(SIDES, distinct[index % len(distinct)], strict=True):
                member = tarfile.TarInfo(f"{index:06d}.{side}.png")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def command(tar: Path, output: Path, *words: object) -> list[str]:
    return [sys.executable, "-m", "verax", "align", str(tar), "-o", str(output), *map(str, words)]


def aligned_with_kills(words: list[str], folder: Path, kills: int, pairs: int) -> int:
    """Restart a command until it ends by itself; return how often it was killed, at most `kills`.

    Each kill comes a moment after a random number of pairs, so that most kills interrupt work.
    """
    count = folder.parent / "kills.txt"
    killed = int(count.read_text()) if count.is_file() else 0
    rng = np.random.default_rng(killed)
    life = 2 * (pairs - rows_there(folder)) // (kills - killed + 1)  # pairs at most
    while True:
        most = rows_there(folder) + rng.integers(0, life + 1)
        with subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        ) as process:
            while process.poll() is None and (killed == kills or rows_there(folder) <= most):
                time.sleep(0.2)
            if process.poll() is None:
                time.sleep(rng.uniform(0, 0.5))
                alone = rng.random() < 0.5  # else with its workers
                (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
                killed += 1
                count.write_text(str(killed))
                continue
            log = process.stderr.read().decode() if process.stderr else ""
        if process.returncode and process.returncode != -signal.SIGKILL:
            raise SystemExit(log)
        if process.returncode == 0:
            return killed


def rows_there(folder: Path) -> int:
    """Number of pairs that a run has stored so far."""
    file = folder / "align.sqlite"
    if not file.is_file():
        return 0
    try:
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            return int(database.execute("SELECT count(*) FROM rows").fetchone()[0])
    except sqlite3.OperationalError:  # it is being made
        return 0


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "pairs.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def problems(rows: list[dict[str, str]], folder: Path, count: int) -> list[str]:
    """What is wrong with the table of a run that was killed, as sentences; empty if nothing."""
    failures = []
    if [int(row["index"]) for row in rows] != list(range(count)):
        failures.append(f"{len(rows)} rows, expected {count}, each index once and in order")
    named = {row[side] for row in rows for side in ("photo_file", "edited_file")} - {""}
    there = {p.relative_to(folder / "pairs").as_posix() for p in folder.glob("pairs/*/*.png")}
    if named != there:
        failures.append(f"{len(named ^ there)} files are on disk or in the table, not in both")
    facts = ("verdict", "reason", "box", "score", "p_value", "matrix")
    own = [tuple(row[name] for name in facts if "tar:" not in row[name]) for row in rows]
    unlike = sum(own[i] != own[i % DISTINCT] for i in range(len(own)))
    return failures + [f"{unlike} rows differ from those of the same pair"] * bool(unlike)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--compared", type=int, default=200, help="pairs of the runs without kills")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--no-ray", action="store_true")
    parser.add_argument(
        "--folder", type=Path, help="folder of the run; a stopped run in it is continued"
    )
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="verax-align-"))
    folder.mkdir(parents=True, exist_ok=True)
    tar = folder / "pairs.tar"
    if not tar.is_file():
        make_pairs(tar, options.pairs, seed=0)
    start, workers = time.monotonic(), ("--workers", options.workers)
    words = command(tar, folder / "killed", *workers)
    kills = aligned_with_kills(words, folder / "killed", options.kills, options.pairs)
    seconds = time.monotonic() - start
    rows = rows_of(folder / "killed")
    wrong = problems(rows, folder / "killed", options.pairs)
    engines = ["processes"] if options.no_ray else ["processes", "ray"]
    for engine in engines:
        some = ("--limit", options.compared, "--engine", engine)
        subprocess.run(
            command(tar, folder / engine, *workers, *some), check=True, stdout=sys.stderr
        )
        if rows_of(folder / engine) != rows[: options.compared]:
            wrong.append(f"{engine}: other rows than the run that was killed")
    verdicts: dict[str, int] = {}
    for row in rows:
        verdicts[row["verdict"]] = verdicts.get(row["verdict"], 0) + 1
    print(f"{len(rows)} pairs, killed {kills} times, {seconds:.0f} s: {verdicts}")
    print("\n".join(wrong) or f"no row twice or missing; the same rows by {', '.join(engines)}")
    print(json.dumps({"pairs": len(rows), "kills": kills, "verdicts": verdicts, "wrong": wrong}))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
