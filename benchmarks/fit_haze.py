"""Fit the weights of the function haze_density on simulated haze; print them and their accuracy.

    python benchmarks/fit_haze.py FOLDER_WITH_MANIFEST

Haze: I = J t + A (1 - t), t = exp(-beta d), d a vertical ramp plus smooth noise, A 0.7..1 with a
slight tint. The photos are the training rows of Budgie_CC0 and CLIC2025. Every fifth is left out of
the fit; accuracy is measured on these.
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from scipy.optimize import least_squares

from verax.image import Image, read
from verax.metrics.scene import HAZE_FEATURES, haze_features

HAZES = 8
RIDGE = 0.03


def hazy(clean: Image, rng: np.random.Generator) -> tuple[Image, float]:
    """The picture with simulated haze, and its density (the mean of 1 - t)."""
    height, width = clean.shape[:2]
    noise = cv2.resize(rng.normal(size=(5, 5)).astype(np.float32), (width, height), interpolation=2)
    depth = np.linspace(1.4, 0.4, height, dtype=np.float32)[:, None] + 0.25 * noise
    t = np.exp(-rng.uniform(0, 2.2) * np.clip(depth, 0.05, 2))[..., None]
    air = np.clip(rng.uniform(0.7, 1.0) + rng.normal(0, 0.02, 3), 0, 1)
    return np.clip(clean * t + air * (1 - t), 0, 1).astype(np.float32), float(1 - t.mean())


def samples(folder: Path) -> Iterator[tuple[bool, np.ndarray, float]]:
    rng = np.random.default_rng(20261120)
    with (folder / "manifest.csv").open() as stream:
        rows = [r for r in csv.DictReader(stream) if r["dataset"] in ("Budgie_CC0", "CLIC2025")]
    for index, row in enumerate(rows):
        clean = read(folder / row["target"]).pixels
        scale = 320 / min(clean.shape[:2])
        clean = cv2.resize(clean, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for _ in range(HAZES):
            picture, density = hazy(clean, rng)
            yield index % 5 == 0, haze_features(picture), density
        yield index % 5 == 0, haze_features(clean), 0.0


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def main() -> None:
    held, features, density = (np.array(c) for c in zip(*samples(Path(sys.argv[1])), strict=True))
    rows = np.hstack([features, np.ones((len(features), 1))])
    train, target = rows[~held], density[~held]

    def residuals(weights: np.ndarray) -> np.ndarray:
        return np.append(logistic(train @ weights) - target, RIDGE * weights)

    weights = least_squares(residuals, np.zeros(rows.shape[1])).x
    guess = logistic(rows @ weights)
    for name, weight in zip((*HAZE_FEATURES, "offset"), weights, strict=True):
        print(f"{name:18s} {weight:+.3f}")
    for name, part in (("fitted", ~held), ("held out", held)):
        error = np.abs(guess - density)[part].mean()
        print(
            f"{name}: {part.sum()} pictures, mean error {error:.3f}, "
            f"r {np.corrcoef(guess[part], density[part])[0, 1]:.3f}"
        )


if __name__ == "__main__":
    main()
