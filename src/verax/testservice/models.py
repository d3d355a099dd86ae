"""The models of the test service: the requests they accept, their prices, and a ledger of bills.

Prices and token counts are those that OpenAI publishes. They are typed in here a second time, so
that the test service shares no numbers and no arithmetic with the code that it tests.
"""

import io
import json
import math
import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from verax.testservice import Refusal

SNAPSHOTS = {
    "gpt-image-2-2026-04-21",
    "gpt-image-2.5-flare-2026-09-08",
    "gpt-image-2.5-sunburst-2026-09-08",
}
MODELS: dict[str, str | None] = {  # id: shutdown date or None
    "gpt-image-1": "2026-10-23",
    "gpt-image-1-mini": "2026-12-01",
    "gpt-image-1.5": "2026-12-01",
    "chatgpt-image-latest": "2026-12-01",
    "gpt-image-2": None,
    "gpt-image-2.5-flare": None,
    "gpt-image-2.5-sunburst": None,
    "gpt-image-2.6-flare": None,
    "gpt-image-2.6-sunburst": None,
} | dict.fromkeys(SNAPSHOTS)
FIXED_SIZES = {"auto", "1024x1024", "1536x1024", "1024x1536"}


def size_of(data: bytes) -> tuple[int, int]:
    """The (width, height) of a picture after EXIF rotation."""
    with Image.open(io.BytesIO(data)) as image:
        turned = image.getexif().get(0x0112, 1) >= 5
        return image.size[::-1] if turned else image.size


def check_request(body: dict[str, Any], images: list[bytes], today: str) -> None:
    """Raises Refusal for a request that the schema allows but the model does not accept.

    `body` holds the fields as JSON types, `images` the picture files; `today` is an ISO date, on
    which the model must not be shut down.
    """
    model = body.get("model", "")
    if model not in MODELS:
        text = f"Invalid value: '{model}'. Supported values are: {', '.join(MODELS)}."
        raise Refusal(400, text, "model", "invalid_value")
    ends = MODELS[model]
    if ends and ends <= today:
        text = f"The model `{model}` was shut down on {ends}; use another model."
        raise Refusal(404, text, "model", "model_not_found")
    prompt = body["prompt"]
    if not prompt or len(prompt) > 32_000:
        text = f"prompt: expected 1 to 32000 characters, got {len(prompt)}; correct it"
        raise Refusal(400, text, "prompt", "invalid_value")
    check_model_fields(model, body)
    check_size(model, body.get("size") or "auto")
    check_images(images)


def check_model_fields(model: str, body: dict[str, Any]) -> None:
    """Raises Refusal if `body` holds a field or a value that the model does not accept."""
    first = model.startswith(("gpt-image-1", "chatgpt"))
    second = model.startswith("gpt-image-2") and "." not in model
    refused = {"response_format", "style"}
    if not first:
        refused.add("input_fidelity")
    if first or second:
        refused.add("markup")
    if not model.startswith("gpt-image-2.6"):
        refused |= {"complexity", "frame_count", "frame_duration_ms"}
    for field in sorted(refused & set(body)):
        text = f"Unknown parameter: '{field}'. The model {model} does not accept it."
        raise Refusal(400, text, field, "unknown_parameter")
    qualities = {"auto", "low", "medium", "high"} | (set() if first or second else {"xhigh", "max"})
    form, background = body.get("output_format", "png"), body.get("background")
    wrong = {
        "quality": body.get("quality", "auto") not in qualities,
        "background": background == "transparent" and (second or form == "jpeg"),
        "output_format": form in ("gif", "svg"),  # access-gated on 2.6, unknown before
        "output_compression": form == "png" and body.get("output_compression", 100) != 100,
        "partial_images": bool(body.get("partial_images")) and not body.get("stream"),
    }
    for field in (name for name, is_wrong in wrong.items() if is_wrong):
        value = body.get(field)
        text = (
            f"{field}: {model} does not accept {value!r} with the other fields; send another value"
        )
        raise Refusal(400, text, field, "invalid_value")


def check_size(model: str, size: str) -> None:
    """Raises Refusal for a size that the model does not accept."""
    if size == "auto":
        return
    match = re.fullmatch(r"(\d+)x(\d+)", size)
    if (model.startswith(("gpt-image-1", "chatgpt")) and size not in FIXED_SIZES) or not match:
        text = f"Invalid value: '{size}'. Use auto or a size of {model} such as 1024x1024."
        raise Refusal(400, text, "size", "invalid_value")
    w, h = int(match[1]), int(match[2])
    if w % 16 or (h % 16 and not model.startswith("gpt-image-1")):
        text = f"size: expected multiples of 16 for width and height, got {size}; correct it"
        raise Refusal(400, text, "size", "invalid_value")
    if not 655_360 <= w * h <= 8_294_400 or max(w, h) > 3840 or max(w, h) > 3 * min(w, h):
        text = (
            "size: expected 0.66 to 8.29 megapixels, sides up to 3840 px, and one side at most "
            f"3 times the other, got {size}; choose another size"
        )
        raise Refusal(400, text, "size", "invalid_value")


def check_images(images: list[bytes]) -> None:
    """Raises Refusal for a file that has 50 MB or more, or is not a picture."""
    for index, data in enumerate(images):
        if len(data) >= 50 * 1024 * 1024:
            text = f"image[{index}]: expected under 50 MB, got {len(data)} bytes; make it smaller"
            raise Refusal(413, text, f"image[{index}]", "image_file_too_large")
        try:
            size_of(data)
        except OSError:
            text = f"image[{index}]: expected a picture, got a damaged or other file; replace it"
            raise Refusal(400, text, f"image[{index}]", "invalid_image_file") from None


def check_guides(image: bytes, mask: bytes | None, markup: bytes | None) -> None:
    """Raises Refusal if both a mask and a markup are sent, if one of them is not a PNG with
    transparent pixels and the size of `image` after EXIF rotation, or if a mask has over 4 MB.
    All three are the bytes of picture files."""
    if mask and markup:
        text = "expected a mask or a markup, got both; send only one"
        raise Refusal(400, text, "markup", "invalid_value")
    for name, data in (("mask", mask), ("markup", markup)):
        if data is None:
            continue
        if not data.startswith(b"\x89PNG"):
            text = f"{name}: expected a PNG file, got another format; convert it to PNG"
            raise Refusal(400, text, name, "invalid_image_file")
        with Image.open(io.BytesIO(data)) as guide:
            if guide.mode not in ("RGBA", "LA") or _darkest(guide.getchannel("A")) > 0:
                text = f"{name} has no transparent pixel; make the pixels to edit transparent"
                raise Refusal(400, text, name, "invalid_image_file")
            if guide.size != size_of(image):
                size = size_of(image)
                text = f"{name}: expected the size of the image, {size}, got {guide.size}; scale it"
                raise Refusal(400, text, name, "invalid_image_file")
        if name == "mask" and len(data) > 4 * 1024 * 1024:
            text = f"mask: expected at most 4 MB, got {len(data)} bytes; send a smaller file"
            raise Refusal(400, text, name, "invalid_image_file")


def _darkest(channel: Image.Image) -> float:
    """The lowest value, 0..255, in a picture with one channel."""
    low = channel.getextrema()[0]
    return low if isinstance(low, (int, float)) else low[0]


# USD per million tokens: text in, image in, image out.
PRICES = {
    "gpt-image-1": (5.0, 10.0, 40.0),
    "gpt-image-1-mini": (2.0, 2.5, 8.0),
    "gpt-image-1.5": (5.0, 8.0, 32.0),
    "chatgpt-image-latest": (5.0, 8.0, 32.0),
    "gpt-image-2": (5.0, 8.0, 30.0),
}
NEWEST = (5.0, 8.0, 30.0)  # 2.5 and 2.6, flare and sunburst

# Output tokens of one picture by size and level, from OpenAI's calculator; the next two tables give
# the level of each quality. For other sizes, LONG_GRID has the cells along the longer side.
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

# Output tokens of the gpt-image-1 family by quality: square, portrait, landscape.
FIRST = {"low": (272, 408, 400), "medium": (1056, 1584, 1568), "high": (4160, 6240, 6208)}
PARTIAL = 100  # each streamed preview


def output_tokens(model: str, quality: str, width: int, height: int) -> int:
    """How many output tokens one picture of width x height px costs; previews cost more. `quality`
    is one of the model's qualities, not "auto"."""
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
    """How many tokens an input picture costs: its number of 32 x 32 px patches, at most 1536. A
    picture with a longer side below 1024 px counts as if enlarged to 1024 px."""
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
    """About how many tokens an English text costs: for each word or punctuation mark, one per 9
    bytes, rounded up."""
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
    """The bill of one call: {"usage": token counts as in OpenAI's answers, "usd": US dollars}.

    `inputs` holds (width, height) of each picture sent, `outputs` (quality, width, height) of each
    picture returned; `previews` is the number of previews.
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
    """The list of billed calls, in a file with one JSON object per line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.touch()
        self._lock = threading.Lock()

    def bill(self, **entry: Any) -> None:  # noqa: ANN401  # values of JSON
        """Append a billed call to the file, and make sure that it is on the disk."""
        with self._lock, self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]

    def total_usd(self) -> float:
        return math.fsum(entry["usd"] for entry in self.entries())
