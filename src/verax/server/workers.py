"""What worker processes do: one restoration from files to files."""

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from verax.making import Order

NICE = 3  # below the process that answers; far lower would starve on a busy machine
LIMIT_S = 900  # no picture within the limits takes nearly as long
T = TypeVar("T")
Given = TypeVarTuple("Given")


def worker_process() -> Executor:
    """A fresh process for one job at a time; spawned, since the server has threads."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=quiet_process)


def quiet_process() -> None:
    """Set up a worker process: low priority, ignores Ctrl-C, ends with its server.

    Workers share the cores between pictures, not within one.
    """
    threading.Thread(target=_end_with_the_server, daemon=True).start()
    os.nice(NICE)
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end_with_the_server() -> None:
    """End this process when its server is killed; it would wait forever otherwise."""
    server = parent_process()
    if server is not None:
        server.join()
        os._exit(1)


def worker_thread() -> Executor:
    """A thread for one call of a paid service at a time."""
    return ThreadPoolExecutor(1, initializer=quiet_thread)


def quiet_thread() -> None:
    """Lower this thread's priority, so that the one that answers goes first; on Linux alone."""
    if hasattr(os, "setpriority") and os.uname().sysname == "Linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def limited(function: Callable[[*Given], T], seconds: int, *arguments: *Given) -> T:
    """The function's result in a worker process, which is killed when it takes too long."""
    signal.alarm(seconds)  # its default action ends the process, whatever it is busy with
    try:
        return function(*arguments)
    finally:
        signal.alarm(0)


def restore(order: "Order") -> dict[str, Any]:
    """Make one restoration file; its record as JSON can hold it."""
    return limited(_restore, LIMIT_S, order)


def _restore(order: "Order") -> dict[str, Any]:
    one_thread()
    from verax import making
    from verax.settings import load

    return making.make(order, credentials=making.credentials_of(load())).record()


def one_thread() -> None:
    """OpenCV does not read OMP_NUM_THREADS."""
    import cv2

    cv2.setNumThreads(1)


def write_pictures(folder: Path, result: Any) -> None:  # noqa: ANN401  # pipeline.Restoration
    """The pictures that the page shows beside the restoration, as PNG."""
    import numpy as np

    from verax import image as images
    from verax.report.faces import faces_sheet
    from verax.report.sheet import trust_picture

    images.write(folder / "photo.png", result.photo.pixels)
    images.write(folder / "restoration.png", result.pixels)
    images.write(folder / "trust.png", trust_picture(result.trust))
    strip = faces_sheet(result)
    if strip is not None:
        images.write(folder / "faces.png", strip)
    if result.warped is not None:
        share = result.warped.valid[..., None]
        registered = result.warped.pixels * share + result.base * (1 - share)
        images.write(folder / "registered.png", np.clip(registered, 0, 1))
