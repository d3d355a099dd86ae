"""Cost of `verax bench` itself: time per item, resume of a finished run, memory, size of the page.

python benchmarks/bench.py [ITEMS]          10,000 items of 64x64 by default
python benchmarks/bench.py --kill [TIMES]   kill a run at random moments, compare the records
python benchmarks/bench.py --rows [ROWS]    size and time of a report over ROWS outputs
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from verax import image as images
from verax.bench import OutputRow, Record, ScoreRow, open_run
from verax.bench import plan as plans
from verax.bench.engines import default_workers
from verax.bench.runner import run
from verax.bench.stages import photo_of
from verax.bench.work import Work, expand
from verax.datasets.registry import load
from verax.metrics import score
from verax.report.page import write_page


def make_dataset(folder: Path, count: int, size: int = 64) -> Path:
    """Write a dataset of `count` pairs, gradients with and without noise; return its folder."""
    rng = np.random.default_rng(1)
    ramp = np.linspace(0.2, 0.8, size, dtype=np.float32)
    clean = np.repeat(np.tile(ramp, (size, 1))[..., None], 3, axis=2)
    for role in ("input", "target"):
        (folder / role).mkdir(parents=True)
    for n in range(count):
        noisy = np.clip(clean + rng.normal(0, 0.05, clean.shape), 0, 1).astype(np.float32)
        images.write(folder / "input" / f"{n:06d}.png", noisy)
        images.write(folder / "target" / f"{n:06d}.png", clean)
    return folder


def memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def bare_s(works: list[Work], count: int = 200) -> float:
    """CPU seconds per item for the necessary work: read, encode, write, read again, score."""
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        for work in works[:count]:
            path = Path(folder) / "x.png"
            path.write_bytes(images.encode(photo_of(work), format="png"))
            score(images.read(path).pixels, images.read(work.reference).pixels, metrics=("psnr",))
    return (time.process_time() - start) / min(count, len(works))


def cost(count: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = make_dataset(folder / "data", count)
        plan = plans.Plan((str(data),), ("identity",), tasks=("noise",), metrics=("psnr",))
        memory: list[float] = []
        workers = default_workers()

        start = time.process_time()
        works = expand(plan, [load(str(data), task="noise")])
        planned = time.process_time() - start
        bare = bare_s(works)
        memory.append(memory_mb())
        start, wall = time.process_time(), time.perf_counter()
        run(plan, works, folder / "run", workers=workers, tell=lambda p: memory.append(memory_mb()))
        took, wall = time.process_time() - start, time.perf_counter() - wall
        cpu = time.process_time()
        start = time.perf_counter()
        works = expand(plan, [load(str(data), task="noise")])
        run(plan, works, folder / "run", workers=workers)
        resumed, cpu = time.perf_counter() - start, time.process_time() - cpu
        command = [
            sys.executable, "-m", "verax", "bench", "run", "--dataset", str(data), "--task",
            "noise", "--method", "identity", "--metric", "psnr", "-o", str(folder / "run"),
        ]  # fmt: skip
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        from_shell = time.perf_counter() - start
        record = open_run(folder / "run")
        start = time.perf_counter()
        page = write_page(record, folder / "report.html", way="linked").stat().st_size
        reported = time.perf_counter() - start
        record.close()

    per_item = 1000 * (took + planned) / count
    print(f"items of 64x64                     {count:10d}   ({workers} workers)")
    print(f"run                                {wall:10.1f} s on the clock")
    print(f"run and plan, per item             {per_item:10.2f} ms of CPU")
    print(f"necessary work, per item           {1000 * bare:10.2f} ms of CPU")
    print(f"overhead of the bench, per item    {per_item - 1000 * bare:10.2f} ms (target: 5)")
    print(f"resume of the finished run         {resumed:10.2f} s, {cpu:.2f} s of CPU (target: 3)")
    print(f"resume by the command line         {from_shell:10.2f} s, start of Python included")
    print(f"memory after a tenth of the run    {memory[len(memory) // 10]:10.0f} MB")
    print(f"memory at its end                  {memory[-1]:10.0f} MB")
    print(f"page, linked pictures              {page / 1e6:10.2f} MB in {reported:.1f} s")


def kill(times: int, seed: int = 7) -> None:
    """Check that a run killed `times` times has the records of a run without kills, none twice."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = make_dataset(folder / "data", 150, 96)
        command = [
            sys.executable, "-m", "verax", "bench", "run", "--dataset", str(data), "--task",
            "noise", "--method", "identity", "--method", "clahe", "--workers", "2", "-o",
        ]  # fmt: skip
        subprocess.run([*command, str(folder / "calm")], check=True, capture_output=True)
        whole_run = sum(map(len, rows(folder / "calm")))
        done = []
        for progress in sorted(chance.uniform(0, whole_run - 64) for _ in range(times)):
            killed = subprocess.Popen(
                [*command, str(folder / "killed")],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            while killed.poll() is None and progressed(folder / "killed") < progress:
                time.sleep(0.01)
            time.sleep(chance.uniform(0.0, 0.1))
            running = killed.poll() is None
            killed.kill()
            killed.communicate()
            records = rows(folder / "killed")
            done.append([len(part) for part in records] if records and running else None)
        subprocess.run([*command, str(folder / "killed")], check=True, capture_output=True)
        same = rows(folder / "killed") == rows(folder / "calm")
        files = sorted(path.name for path in (folder / "killed/outputs").iterdir())
        whole = files == sorted(path.name for path in (folder / "calm/outputs").iterdir())
        other = subprocess.run(
            [*command, str(folder / "killed"), "--seed", "1"], capture_output=True, text=True
        )
        alive = sum(one is not None for one in done)
        print(
            f"killed {times} times, {alive} of them during the run; "
            f"(outputs, scores) after each kill: {done}"
        )
        print(f"same records as a run without kills, none twice: {same}; same files: {whole}")
        print(
            f"another configuration in the same folder is refused: exit {other.returncode}, "
            f"{other.stderr.strip()[-200:]}"
        )
        sys.exit(not (same and whole and other.returncode))


def report(count: int) -> None:
    """Time a report on `count` outputs by four methods, with three metrics and linked pictures."""
    row = OutputRow(
        key="", dataset="set", task="dehazing", item="", method="", prior="files", degradation="",
        prompt="", repeat=0, generator="model", licence="CC0", outcome="restored", reason="",
        seconds=1.0, cost_usd=0.0, width=640, height=480, registration="", photo="/data/photo.png",
        reference="/data/reference.png", sha256="f" * 64,
    )  # fmt: skip
    methods = ("identity", "raw-prior", "low-band", "full")
    with tempfile.TemporaryDirectory() as name:
        record = Record(Path(name) / "run")
        record.set_about("plan", {})
        keys = [f"{n:032x}" for n in range(count)]
        record.add_outputs([
            replace(row, key=key, item=f"scene_{n // 40:05d}/frame_{n // 4:06d}.png",
                    method=methods[n % 4], prior="none" if n % 4 == 0 else "files",
                    scene=f"{n // 40}")
            for n, key in enumerate(keys)
        ])  # fmt: skip
        record.add_scores(
            [
                ScoreRow(key, metric, json.dumps([metric]), 20.0 + n % 97 / 7 + n % 4)
                for n, key in enumerate(keys)
                for metric in ("psnr", "ssim", "niqe")
            ]
        )
        start = time.perf_counter()
        size = write_page(record, Path(name) / "report.html", way="linked").stat().st_size
        took = time.perf_counter() - start
        record.close()
    print(f"page over {count} outputs: {size / 1e6:.1f} MB (target: 30) in {took:.1f} s")
    print(f"memory at its end: {memory_mb():.0f} MB")


def progressed(folder: Path) -> int:
    """Number of outputs and scores that a run has stored so far."""
    records = rows(folder)
    return sum(map(len, records)) if records else 0


def rows(folder: Path) -> tuple[dict, dict] | None:
    if not (folder / "run.sqlite").is_file():
        return None
    try:
        record = open_run(folder)
    except ValueError:
        return None
    figures = (
        {r.key: (r.outcome, r.sha256) for r in record.outputs()},
        {(r.key, r.metric): r.value for r in record.scores()},
    )
    record.close()
    return figures


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[:1] == ["--kill"]:
        kill(int(words[1]) if len(words) > 1 else 20)
    elif words[:1] == ["--rows"]:
        report(int(words[1]) if len(words) > 1 else 100_000)
    else:
        cost(int(words[0]) if words else 10_000)
