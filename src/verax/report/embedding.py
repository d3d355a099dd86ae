"""How a page refers to picture files: as they are inside it, as previews inside it, or by a path.

Few pictures go into the page as they are. More go in as WebP previews, which are for looking at:
scores come from the files. Beyond that the page links the files of the run folder.
"""

import base64
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2

from verax import image as images
from verax.bench.engines import default_workers
from verax.errors import InputError
from verax.image.places import left_in

Way = Literal["inside", "previews", "linked"]

INSIDE_BYTES = 20_000_000  # of all pictures, to go in as they are
PREVIEW_PIXELS = 400_000_000  # of all pictures, to go in as previews: a page of 30 to 60 MB
PREVIEW_SIDE = 1600
PREVIEW_QUALITY = 82
WEB = ("png", "jpeg", "webp", "avif")  # what browsers show


def choose_way(paths: Iterable[Path]) -> Way:
    """The best way that keeps the page small enough for a browser."""
    paths = [path for path in paths if path.is_file()]
    if sum(path.stat().st_size for path in paths) <= INSIDE_BYTES:
        return "inside"
    pixels = 0
    for path in paths:
        pixels += _pixels(path)
        if pixels > PREVIEW_PIXELS:
            return "linked"
    return "previews"


def _pixels(path: Path) -> int:
    try:
        header = images.header_of(path)
        return header.width * header.height
    except InputError:
        return 0


@dataclass(slots=True)
class Pictures:
    """Addresses of picture files for the img elements of one page."""

    folder: Path  # of the page
    way: Way
    ready: dict[Path, str] = field(default_factory=dict)

    def prepare(self, paths: Iterable[Path]) -> None:
        """Make previews side by side; without it they are made one by one."""
        if self.way == "previews":
            several = list(dict.fromkeys(paths))
            with ThreadPoolExecutor(default_workers()) as pool:
                self.ready |= zip(several, pool.map(self.source, several), strict=True)

    def source(self, path: Path) -> str:
        """An address for an img element; "" for a file that browsers cannot show as it is."""
        if path in self.ready:
            return self.ready[path]
        suffix = images.SUFFIXES.get(path.suffix.lower())
        kind = suffix if suffix in WEB else None
        if not path.is_file() or (kind is None and self.way == "linked"):
            return ""
        if self.way == "linked":
            return os.path.relpath(path, self.folder).replace(os.sep, "/")
        try:
            if self.way == "previews":
                kind, data = "webp", _preview(path)
            elif kind is None:
                kind, data = "png", images.encode(images.read(path).pixels, format="png")
            else:
                data = path.read_bytes()
                if left_in(data):  # pages are shared
                    kind, data = "png", images.encode(images.read(path).pixels, format="png")
        except InputError:  # a broken photo is told as a failed item, not shown
            return ""
        return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _preview(path: Path) -> bytes:
    pixels = images.to_uint8(images.read(path).pixels)
    scale = PREVIEW_SIDE / max(pixels.shape)
    if scale < 1:
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    ending = [cv2.IMWRITE_WEBP_QUALITY, PREVIEW_QUALITY]
    return cv2.imencode(".webp", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), ending)[1].tobytes()
