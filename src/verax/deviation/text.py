"""Written words: which words of the photo the generated picture still carries.

Uses the `tesseract` program where it is installed; nothing else of it is needed.
"""

import shutil
import subprocess

import cv2

from verax.deviation.record import Entry, unknown
from verax.errors import InputError
from verax.image import Image, to_uint8

LEAST_CONFIDENCE = 60.0
LEAST_LETTERS = 3
TIMEOUT_S = 60.0
WANTED_SIDE_PX = 1600  # small print is enlarged first


def text_entry(photo: Image, generated: Image) -> Entry:
    """Share of the photo's words that the generated picture lost or rewrote."""
    if shutil.which("tesseract") is None:
        return unknown("share", "the tesseract program is not installed")
    before, after = words(photo), words(generated)
    if not before:
        return unknown("share", "no words can be read in the photo")
    kept = sum(min(count, after.get(word, 0)) for word, count in before.items())
    total = sum(before.values())
    return Entry(1 - kept / total, "share", confidence=min(1.0, total / 10))


def words(image: Image) -> dict[str, int]:
    """Words that tesseract reads with confidence, in small letters, and how often."""
    scale = max(1.0, WANTED_SIDE_PX / max(image.shape[:2]))
    large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    levels = to_uint8(large)
    _, png = cv2.imencode(".png", levels[..., ::-1])
    try:
        done = subprocess.run(
            ["tesseract", "stdin", "stdout", "--psm", "11", "tsv"],
            input=png.tobytes(),
            capture_output=True,
            timeout=TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as exc:
        raise InputError(f"tesseract could not read the picture ({exc}); leave out --text") from exc
    found: dict[str, int] = {}
    for line in done.stdout.decode("utf-8", "replace").splitlines()[1:]:
        columns = line.split("\t")
        word = "".join(c for c in columns[-1].casefold() if c.isalnum())
        certain = len(columns) == 12 and float(columns[10]) >= LEAST_CONFIDENCE
        if certain and len(word) >= LEAST_LETTERS:
            found[word] = found.get(word, 0) + 1
    return found
