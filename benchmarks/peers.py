"""Compare a folder of checkpoints with the embedded networks, on the same photos.

    python benchmarks/peers.py FOLDER [FOLDER ...] [--datasets LOL_eval15,...] [--save peers.jsonl]

Reads the folder named by VERAX_PICTURES (manifest.csv). A file is one that `--restorer` takes;
a file that cannot be used is left out, and the reason printed. PSNR in RGB on the photo's grid;
"matched" scales the result to the reference's mean brightness first. "harmed" counts photos that
lose more than 0.5 dB. Lines of --save are one per photo and restorer.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from networks import DATASETS, matched, pairs, psnr
from verax import restorers
from verax.cli.train import describe_file, weights_files
from verax.image import Image

HARM = 0.5  # dB
REASON = "no restorer"


def usable(places: list[Path]) -> list[str]:
    """Paths of the files that are restorers; the others are printed with the reason."""
    names = []
    for path in weights_files(places):
        entry = describe_file(path)
        if entry.good_for.startswith(REASON):
            print(f"left out: {path.name}: {entry.good_for}")
        else:
            names.append(str(path))
    return names


def measured(
    names: list[str], photos: Iterator[tuple[str, Image, Image]]
) -> Iterator[dict[str, object]]:
    """One record per photo and restorer; it holds the error if the restorer failed."""
    for dataset, photo, reference in photos:
        before = psnr(photo, reference)
        for name in names:
            record: dict[str, object] = {"dataset": dataset, "restorer": Path(name).name}
            start = time.perf_counter()
            try:
                base = restorers.restore(photo, name)
            except (RuntimeError, ValueError) as exc:
                yield record | {"error": str(exc)}
                continue
            yield record | {
                "psnr": psnr(base, reference),
                "matched": psnr(matched(base, reference), reference),
                "gain": psnr(base, reference) - before,
                "seconds": time.perf_counter() - start,
            }


def table(records: list[dict[str, object]]) -> Iterator[str]:
    """One line per dataset and restorer."""
    groups: dict[tuple[str, str], list[dict[str, object]]] = {}
    for record in records:
        key = (str(record["dataset"]), str(record["restorer"]))
        groups.setdefault(key, []).append(record)
    for (dataset, name), group in groups.items():
        done = [record for record in group if "error" not in record]
        psnrs, gains, seconds = (
            np.array([record[key] for record in done], np.float64)
            for key in ("psnr", "gain", "seconds")
        )
        if not done:
            yield f"{dataset:24} {name:32} failed: {group[0]['error']}"
            continue
        fitted = np.mean([record["matched"] for record in done])
        yield (
            f"{dataset:24} {name:32} {len(done):3} photos  {psnrs.mean():6.2f} dB  "
            f"matched {fitted:6.2f}  harmed {int((gains < -HARM).sum()):2}  "
            f"{np.median(seconds):.2f} s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--datasets", default=",".join(DATASETS))
    parser.add_argument("--save", type=Path)
    words = parser.parse_args()
    names = ["none", restorers.EMBEDDED, *usable(words.folders)]
    photos = pairs(Path(os.environ["VERAX_PICTURES"]), "test", words.datasets.split(","))
    records = list(measured(names, photos))
    print("\n".join(table(records)))
    if words.save:
        words.save.write_text("".join(json.dumps(record) + "\n" for record in records))


if __name__ == "__main__":
    main()
