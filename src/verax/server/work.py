"""What worker processes do: one restoration from files to files."""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

NICE = 5  # the event loop goes first


@dataclass(frozen=True, slots=True)
class Order:
    """One restoration to be made.

    Attributes:
        output: file to write; its suffix is the format.
        size: (width, height) the photo must have, or None.
        folder: where the pictures of the page go, or None when only the result is wanted.
    """

    photo: Path
    prior: Path | None
    output: Path
    fidelity: float = 1.0
    quality: int = 95
    max_pixels: int = 60_000_000
    folder: Path | None = None


def quiet_worker() -> None:
    """Set up a worker process: polite, one thread, deaf to the terminal's Ctrl-C."""
    import signal

    os.nice(NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import cv2

    cv2.setNumThreads(1)


def worker_pool(workers: int) -> Callable[[], ProcessPoolExecutor]:
    """Makes a pool of fresh processes; spawned, since the server has threads."""

    def make() -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=quiet_worker
        )

    return make


def restore(order: Order) -> dict[str, Any]:
    """Restore, write, and say what was done as JSON can hold it."""
    from verax import image as images
    from verax import pipeline

    photo = images.read(order.photo, max_pixels=order.max_pixels)
    prior = images.read(order.prior, max_pixels=order.max_pixels) if order.prior else None
    result = pipeline.restore(photo, prior, fidelity=order.fidelity)
    images.write(order.output, result.pixels, like=photo, quality=order.quality)
    if order.folder is not None:
        write_pictures(order.folder, result)
    return pipeline.record(result)


def write_pictures(folder: Path, result: Any) -> None:  # noqa: ANN401  # pipeline.Restoration
    """The pictures that the page shows beside the restoration, as PNG."""
    import numpy as np

    from verax import image as images
    from verax.report.sheet import trust_picture

    images.write(folder / "photo.png", result.photo.pixels)
    images.write(folder / "restoration.png", result.pixels)
    images.write(folder / "trust.png", trust_picture(result.trust))
    if result.warped is not None:
        seen = result.warped.valid[..., None]
        registered = result.warped.pixels * seen + result.base * (1 - seen)
        images.write(folder / "registered.png", np.clip(registered, 0, 1))
