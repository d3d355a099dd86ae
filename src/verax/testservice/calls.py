"""One call for pictures, without HTTP: reads and checks the request, makes pictures, charges.

In all functions `kind` is "edit" or "generate", `fields` are the request's fields as JSON types,
`files` are pairs (field name, bytes) of its pictures, and `uploads` are uploaded files by id.
"""

import base64
import email.utils
import hashlib
import io
import json
import re
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from verax.testservice import Refusal, check_answer, check_fields, models
from verax.testservice.state import AHEAD_S

NUMBERS = {"n", "partial_images", "output_compression", "frame_count", "frame_duration_ms"}
JsonObject = dict[str, Any]
NamedFiles = list[tuple[str, bytes]]
Form = list[tuple[str, str, bytes]]


def request_id() -> str:
    return "req_" + hashlib.sha256(str(time.perf_counter_ns()).encode()).hexdigest()[:24]


def moderation(stage: str) -> Refusal:
    """The error answer to a call that moderation refused at the stage "input" or "output"."""
    return Refusal(
        400,
        "Your request was rejected by the safety system. If you believe this is an error, contact "
        f"us and include the request ID {request_id()}. safety_violations=[violence].",
        None,
        "moderation_blocked",
        type="image_generation_user_error",
        moderation_details={"moderation_stage": stage, "categories": ["violence"]},
    )


def read_json(body: bytes) -> JsonObject:
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Refusal(400, "We could not parse the body of your request: expected a JSON object.")
    return value


def parse_form(content_type: str, body: bytes) -> Form:
    """The parts of a multipart form, each as (field name, file name or "", bytes)."""
    match = re.search(r'boundary="?([^";]+)', content_type or "")
    if not match:
        text = f"content-type: expected multipart/form-data with a boundary, got {content_type!r}"
        raise Refusal(400, text, None, "invalid_multipart")
    parts = []
    for piece in body.split(b"--" + match[1].encode())[1:-1]:
        head, _, data = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        line = next(x for x in head.decode().split("\r\n") if x.lower().startswith("content-disp"))
        name = re.search(r'[; ]name="([^"]*)"', line)
        file = re.search(r'filename="([^"]*)"', line)
        parts.append((name[1] if name else "", file[1] if file else "", data.removesuffix(b"\r\n")))
    return parts


def read_request(
    kind: str, content_type: str, body: bytes, uploads: dict[str, JsonObject]
) -> tuple[JsonObject, NamedFiles]:
    """The fields and the pictures (field name, bytes) of a request of `kind` "edit" or "generate".
    `uploads`: uploaded files by id. Raises Refusal if the request violates the schema."""
    if content_type.startswith("multipart/form-data") and kind == "edit":
        fields, files = typed_form(parse_form(content_type, body))
        check_fields("edit-form", fields)
        return fields, files
    if not content_type.startswith("application/json"):
        text = f"content-type: expected JSON or, to edit, a form, got {content_type!r}; set it"
        raise Refusal(400, text, None, "invalid_content_type")
    fields = read_json(body)
    check_fields("edit-json" if kind == "edit" else "generate", fields)
    return fields, referenced_pictures(uploads, fields) if kind == "edit" else []


def typed_form(parts: Form) -> tuple[JsonObject, NamedFiles]:
    """The fields of a form as JSON types, with "<bytes>" for a file, and (name, bytes) of files."""
    fields: JsonObject = {}
    files = [(name.removesuffix("[]"), data) for name, file, data in parts if file]
    for name, file, data in parts:
        if file:
            continue
        text = data.decode()
        if name in NUMBERS:
            fields[name] = int(text) if re.fullmatch(r"-?\d+", text) else text
        elif name == "stream":
            fields[name] = {"true": True, "false": False}.get(text, text)
        else:
            fields[name] = text
    images = ["<bytes>" for name, _ in files if name == "image"]
    if images:
        fields["image"] = images if len(images) > 1 else images[0]
    return fields | {name: "<bytes>" for name, _ in files if name != "image"}, files


def referenced_pictures(uploads: dict[str, JsonObject], fields: JsonObject) -> NamedFiles:
    """The pictures (field name, bytes) that the body `fields` of a JSON edit refers to, by data URL
    or by the id of a file in `uploads`."""
    named = [("image", one) for one in fields["images"]]
    named += [("mask", fields["mask"])] if fields.get("mask") else []
    return [(name, resolve(uploads, reference)) for name, reference in named]


def resolve(uploads: dict[str, JsonObject], reference: JsonObject) -> bytes:
    if "file_id" in reference:
        file = uploads.get(reference["file_id"])
        if file is None:
            text = f"file_id {reference['file_id']}: no such file was uploaded; upload it first"
            raise Refusal(400, text, "images", "invalid_value")
        return bytes(file["data"])
    match = re.fullmatch(r"data:image/[a-z+]+;base64,(.*)", reference["image_url"], re.DOTALL)
    if not match:
        text = f"image_url: expected a data: URL, got {reference['image_url'][:60]}; send one"
        raise Refusal(400, text, "images", "failed_to_download_image")
    return base64.b64decode(match[1])


def check(kind: str, fields: JsonObject, files: NamedFiles, today: str) -> None:
    """Raises Refusal if the model does not accept the request on the day `today` (ISO date)."""
    by_name = dict(reversed(files))
    images = [data for name, data in files if name == "image"]
    models.check_request(fields, images, today)
    if kind == "edit":
        models.check_guides(images[0], by_name.get("mask"), by_name.get("markup"))


def requested_size(fields: JsonObject, files: NamedFiles) -> tuple[int, int]:
    """The (width, height) to return; "auto": by the first picture's shape, 1024x1024 if none."""
    size = fields.get("size") or "auto"
    if size != "auto":
        width, height = size.split("x")
        return int(width), int(height)
    if not files:
        return 1024, 1024
    width, height = models.size_of(files[0][1])
    return (1024, 1024) if width == height else (1536, 1024) if width > height else (1024, 1536)


@dataclass(frozen=True, slots=True)
class Painting:
    """A picture for an answer: its (width, height), and the bytes of its file."""

    size: tuple[int, int]
    data: bytes


def paint(
    kind: str, fields: JsonObject, files: NamedFiles, *, size: str = "", form: str = ""
) -> list[Painting]:
    """Makes the pictures of an answer. `size` ("WxH") and `form` ("jpeg"), if not "", override the
    size and the file format in `fields`."""
    width, height = requested_size({"size": size} if size else fields, files)
    source = files[0][1] if kind == "edit" else fields["prompt"]
    form = form or fields.get("output_format") or "png"
    return [painting(source, width, height, index, form) for index in range(fields.get("n") or 1)]


@lru_cache(maxsize=16)  # making a picture takes most of the time of a call
def painting(source: bytes | str, width: int, height: int, index: int, form: str) -> Painting:
    """Picture `index` (from 0) in the file format `form`, made from a photo's bytes or a prompt."""
    numbers = width, height, index
    image = redraw(source, *numbers) if isinstance(source, bytes) else invent(source, *numbers)
    return Painting((width, height), encode(image, form))


def used_quality(fields: JsonObject) -> str:
    quality = str(fields.get("quality") or "auto")
    return "high" if quality == "auto" else quality


def charge(fields: JsonObject, files: NamedFiles, painted: list[Painting]) -> JsonObject:
    inputs = [models.size_of(data) for name, data in files if name in ("image", "markup")]
    outputs = [(used_quality(fields), *requested_size(fields, files)) for _ in painted]
    previews = (fields.get("partial_images") or 0) if fields.get("stream") else 0
    return models.charge(fields["model"], fields["prompt"], inputs, outputs, previews=previews)


def entry(kind: str, fields: JsonObject, files: NamedFiles) -> JsonObject:
    """The ledger entry of a call; its key "request" is a hash of all fields and pictures."""
    hashes = [hashlib.sha256(data).hexdigest() for _, data in files]
    details = {k: fields.get(k) for k in ("model", "size", "quality", "n", "prompt")}
    whole = json.dumps([kind, fields, hashes], sort_keys=True, default=str)
    key = hashlib.sha256(whole.encode()).hexdigest()
    return {"time": time.time(), "kind": kind, "request": key, "files": hashes, **details}


def describe(fields: JsonObject, size: tuple[int, int]) -> JsonObject:
    background = fields.get("background") or "opaque"
    return {
        "size": f"{size[0]}x{size[1]}",
        "quality": used_quality(fields),
        "background": "opaque" if background == "auto" else background,
        "output_format": fields.get("output_format") or "png",
    }


LEVELS = np.linspace(0.0, 1.0, 256)
WARMER = [  # one table of 256 levels for each of R, G and B
    round(255 * min(1.0, gain * level**0.93 + 0.01))
    for gain in (1.0, 0.985, 0.95)
    for level in LEVELS
]
SAVE: dict[str, dict[str, int]] = {"png": {"compress_level": 1, "compress_type": 2},
                                   "jpeg": {"quality": 92}, "webp": {"quality": 90}}  # fmt: skip


def redraw(data: bytes, width: int, height: int, index: int = 0) -> Image.Image:
    """The picture file `data` slightly cropped (more if `index` is high), resized, made warmer."""
    with Image.open(io.BytesIO(data)) as image:
        source = image.convert("RGB")
    w, h = source.size
    box = (0.004 * w, 0.003 * h, w * (0.998 - 0.001 * index), 0.995 * h)
    moved = source.resize((width, height), Image.Resampling.BICUBIC, box=box)
    return moved.point(WARMER)


def invent(prompt: str, width: int, height: int, index: int = 0) -> Image.Image:
    """A picture of smooth random colours, which depend on prompt and index."""
    seed = hashlib.sha256(f"{prompt}/{index}".encode()).digest()
    coarse = np.random.default_rng(list(seed)).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **SAVE[form])
    return buffer.getvalue()


def events(kind: str, fields: JsonObject, answer: JsonObject) -> list[JsonObject]:
    """The events of a streamed answer: previews, then pictures; the last has the token counts."""
    name = "image_edit" if kind == "edit" else "image_generation"
    common = {key: value for key, value in answer.items() if key not in ("data", "usage")}
    common["created_at"] = common.pop("created")
    texts = [one["b64_json"] for one in answer["data"]]
    previews = [
        {"type": f"{name}.partial_image", "partial_image_index": index, "b64_json": texts[0]}
        for index in range(fields.get("partial_images") or 0)
    ]
    every = [*previews, *({"type": f"{name}.completed", "b64_json": text} for text in texts)]
    if "usage" in answer:
        every[-1]["usage"] = answer["usage"]
    return [event | common for event in every]


def secret(header: str) -> bool:
    return header.lower() in ("authorization", "api-key", "cookie")


def too_many(detail: str) -> Refusal:
    """The error answer for the step "429:<detail>" of a test's script, such as "429:quota"."""
    if detail == "quota":
        return Refusal(429, "no quota left; add credit", None, "insufficient_user_quota")
    refusal = Refusal(429, "Rate limit reached for images per min.", None)
    refusal.error |= {"type": "rate_limit_error", "code": "rate_limit_exceeded"}
    refusal.headers = retry_after(detail)
    return refusal


def retry_after(form: str) -> dict[str, str]:
    """The header that says how long to wait, for a script step "429:<form>" such as "429:ms=50"."""
    name, _, value = form.partition("=")
    if name == "ms":
        return {"retry-after-ms": value}
    if name == "ahead":
        value = str(float(value) + AHEAD_S)
    if name in ("date", "ahead"):
        return {"Retry-After": email.utils.formatdate(time.time() + float(value), usegmt=True)}
    special = {"absurd": "99999", "text": "soon"}
    return {"Retry-After": special.get(name, name)} if name else {}


def models_entry(tail: str) -> JsonObject:
    """Answer a request below /models: the list, or the one model that the path `tail` names."""

    def one(name: str) -> JsonObject:
        about = {"id": name, "object": "model", "created": 1_760_000_000, "owned_by": "system"}
        return about | {"shutdown_date": models.MODELS[name]}

    model = tail.removeprefix("models").strip("/")
    if not model:
        listed = {"object": "list", "data": [one(name) for name in models.MODELS]}
        return check_answer("models", listed)
    if model not in models.MODELS:
        raise Refusal(404, f"The model '{model}' does not exist", "model", "model_not_found")
    return one(model)
