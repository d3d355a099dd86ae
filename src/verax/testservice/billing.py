"""What the test service charges, and its ledger: one line per billed call, synced to disk.

Prices per million tokens and the table of output tokens are the published ones, typed in by hand:
this module shares no arithmetic with the code it tests.
"""

import json
import math
import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# USD per million tokens: text in, image in, image out.
PRICES = {
    "gpt-image-1": (5.0, 10.0, 40.0),
    "gpt-image-1-mini": (2.0, 2.5, 8.0),
    "gpt-image-1.5": (5.0, 8.0, 32.0),
    "chatgpt-image-latest": (5.0, 8.0, 32.0),
    "gpt-image-2": (5.0, 8.0, 30.0),
}
NEWEST = (5.0, 8.0, 30.0)  # 2.5 and 2.6, flare and sunburst

# Output tokens of one picture by area of the long edge's grid; the official calculator's table.
NAMES_2 = {"low": "A", "medium": "C", "high": "E"}
NAMES_25 = {"low": "A", "medium": "B", "high": "C", "xhigh": "D", "max": "E"}
TABLE = {
    "1024x768": {"A": 134, "B": 301, "C": 1204, "D": 2140, "E": 4815},
    "1024x1024": {"A": 196, "B": 439, "C": 1756, "D": 3122, "E": 7024},
    "1024x1536": {"A": 158, "B": 343, "C": 1372, "D": 2459, "E": 5488},
    "1920x1080": {"A": 147, "B": 343, "C": 1320, "D": 2347, "E": 5280},
    "2560x1440": {"A": 205, "B": 478, "C": 1843, "D": 3276, "E": 7370},
    "3840x2160": {"A": 371, "B": 865, "C": 3336, "D": 5930, "E": 13342},
}
LONG_GRID = {"A": 16, "B": 24, "C": 48, "D": 64, "E": 96}

# gpt-image-1 family: square, portrait, landscape.
FIRST = {"low": (272, 408, 400), "medium": (1056, 1584, 1568), "high": (4160, 6240, 6208)}
PARTIAL = 100  # each streamed preview


def output_tokens(model: str, quality: str, width: int, height: int) -> int:
    """Tokens of one finished picture; quality is never "auto" here."""
    if model.startswith(("gpt-image-1", "chatgpt")):
        return FIRST[quality][0 if width == height else 1 if height > width else 2]
    level = (NAMES_2 if model.startswith("gpt-image-2") and "." not in model else NAMES_25)[quality]
    row = TABLE.get(f"{width}x{height}") or TABLE.get(f"{height}x{width}")
    if row:
        return row[level]
    long, short = max(width, height), min(width, height)
    cells = LONG_GRID[level] * round(LONG_GRID[level] * short / long)
    return -(-cells * (2_000_000 + width * height) // 4_000_000)


def input_image_tokens(width: int, height: int) -> int:
    """Patches of 32 px, at most 1536 of them; small pictures count as 1024 px long."""
    grow = max(1.0, 1024 / max(width, height))
    width, height = round(width * grow), round(height * grow)
    patches = math.ceil(width / 32) * math.ceil(height / 32)
    if patches <= 1536:
        return patches
    shrink = math.sqrt(32 * 32 * 1536 / (width * height))
    columns, rows = width * shrink / 32, height * shrink / 32
    shrink *= min(math.floor(columns) / columns, math.floor(rows) / rows)
    return math.ceil(int(width * shrink) / 32) * math.ceil(int(height * shrink) / 32)


def text_tokens(prompt: str) -> int:
    """About what a tokenizer makes of English: short words are one token, long ones two or more."""
    pieces = re.findall(r"\w+|[^\w\s]", prompt)
    return sum(1 + (len(piece.encode()) - 1) // 9 for piece in pieces)


def charge(
    model: str,
    prompt: str,
    inputs: Sequence[tuple[int, int]],
    outputs: Sequence[tuple[str, int, int]],
    *,
    previews: int,
) -> dict[str, Any]:
    """The usage object and the price of one call.

    `inputs` are (width, height) of the pictures sent, `outputs` (quality, width, height).
    """
    text, image = text_tokens(prompt), sum(input_image_tokens(*size) for size in inputs)
    out = sum(output_tokens(model, *picture) for picture in outputs) + PARTIAL * previews
    per = PRICES.get(re.sub(r"-\d{4}-\d\d-\d\d$", "", model), NEWEST)
    usage = {
        "input_tokens": text + image,
        "output_tokens": out,
        "total_tokens": text + image + out,
        "input_tokens_details": {"text_tokens": text, "image_tokens": image},
        "output_tokens_details": {"image_tokens": out, "text_tokens": 0},
    }
    return {"usage": usage, "usd": (text * per[0] + image * per[1] + out * per[2]) / 1e6}


class Ledger:
    """Billed calls, appended to a file and synced one by one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.touch()
        self._lock = threading.Lock()

    def bill(self, **entry: Any) -> None:  # noqa: ANN401  # one line of JSON
        with self._lock, self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]

    def total_usd(self) -> float:
        return math.fsum(entry["usd"] for entry in self.entries())
