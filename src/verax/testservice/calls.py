"""One call for pictures, apart from HTTP: reading it, checking it, painting, charging.

`files` are (field name, bytes) of the pictures of a call; `uploads` are the service's files by id.
"""

import base64
import hashlib
import json
import re
import time
from typing import Any

from PIL.Image import Image

from verax.testservice import billing, pictures, rules
from verax.testservice.rules import Refusal

NUMBERS = {"n", "partial_images", "output_compression", "frame_count", "frame_duration_ms"}
Fields = dict[str, Any]
Files = list[tuple[str, bytes]]
Form = list[tuple[str, str, bytes]]


def request_id() -> str:
    return "req_" + hashlib.sha256(str(time.perf_counter_ns()).encode()).hexdigest()[:24]


def moderation(stage: str) -> Refusal:
    return Refusal(
        400,
        "Your request was rejected by the safety system. If you believe this is an error, contact "
        f"us and include the request ID {request_id()}. safety_violations=[violence].",
        None,
        "moderation_blocked",
        type="image_generation_user_error",
        moderation_details={"moderation_stage": stage, "categories": ["violence"]},
    )


def read_json(body: bytes) -> Fields:
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Refusal(400, "We could not parse the JSON body of your request.")
    return value


def parse_form(content_type: str, body: bytes) -> Form:
    """(name, file name, bytes) of every part of a multipart form."""
    match = re.search(r'boundary="?([^";]+)', content_type or "")
    if not match:
        raise Refusal(400, "Missing boundary", None, "invalid_multipart")
    parts = []
    for piece in body.split(b"--" + match[1].encode())[1:-1]:
        head, _, data = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        line = next(x for x in head.decode().split("\r\n") if x.lower().startswith("content-disp"))
        name = re.search(r'[; ]name="([^"]*)"', line)
        file = re.search(r'filename="([^"]*)"', line)
        parts.append((name[1] if name else "", file[1] if file else "", data.removesuffix(b"\r\n")))
    return parts


def typed_form(parts: Form) -> tuple[Fields, Files]:
    """Form fields as JSON types, with placeholders for the files, and the files."""
    fields: Fields = {}
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


def referenced(uploads: dict[str, Fields], fields: Fields) -> Files:
    """The pictures that a JSON edit points at."""
    named = [("image", one) for one in fields["images"]]
    named += [("mask", fields["mask"])] if fields.get("mask") else []
    return [(name, resolve(uploads, reference)) for name, reference in named]


def resolve(uploads: dict[str, Fields], reference: Fields) -> bytes:
    if "file_id" in reference:
        file = uploads.get(reference["file_id"])
        if file is None:
            raise Refusal(400, f"No such file {reference['file_id']}", "images", "invalid_value")
        return bytes(file["data"])
    match = re.fullmatch(r"data:image/[a-z+]+;base64,(.*)", reference["image_url"], re.DOTALL)
    if not match:
        raise Refusal(400, "Could not download image_url", "images", "failed_to_download_image")
    return base64.b64decode(match[1])


def check(kind: str, fields: Fields, files: Files, today: str) -> None:
    """Everything about one request beyond the schema."""
    by_name = dict(reversed(files))
    images = [data for name, data in files if name == "image"]
    rules.check_request(kind, fields, images, today)
    if kind == "edit":
        rules.check_guides(images[0], by_name.get("mask"), by_name.get("markup"))


def asked_size(fields: Fields, files: Files) -> tuple[int, int]:
    size = fields.get("size") or "auto"
    if size != "auto":
        width, height = size.split("x")
        return int(width), int(height)
    if not files:
        return 1024, 1024
    width, height = pictures.size_of(files[0][1])
    return (1024, 1024) if width == height else (1536, 1024) if width > height else (1024, 1536)


def paint(kind: str, fields: Fields, files: Files, size: str | None) -> list[Image]:
    width, height = asked_size({"size": size} if size else fields, files)
    count = fields.get("n") or 1
    if kind == "edit":
        return [pictures.redraw(files[0][1], width, height, index) for index in range(count)]
    return [pictures.invent(fields["prompt"], width, height, index) for index in range(count)]


def used_quality(fields: Fields) -> str:
    quality = str(fields.get("quality") or "auto")
    return "high" if quality == "auto" else quality


def charge(fields: Fields, files: Files, painted: list[Image]) -> Fields:
    inputs = [pictures.size_of(data) for name, data in files if name in ("image", "markup")]
    outputs = [(used_quality(fields), *asked_size(fields, files)) for _ in painted]
    previews = (fields.get("partial_images") or 0) if fields.get("stream") else 0
    return billing.charge(fields["model"], fields["prompt"], inputs, outputs, previews=previews)


def entry(kind: str, fields: Fields, files: Files) -> Fields:
    """What the ledger keeps of a request: enough to tell two pictures apart."""
    hashes = [hashlib.sha256(data).hexdigest() for _, data in files]
    told = {k: fields.get(k) for k in ("model", "size", "quality", "n", "prompt")}
    whole = json.dumps([kind, fields, hashes], sort_keys=True, default=str)
    key = hashlib.sha256(whole.encode()).hexdigest()
    return {"time": time.time(), "kind": kind, "request": key, "files": hashes, **told}


def described(fields: Fields, size: tuple[int, int]) -> Fields:
    background = fields.get("background") or "opaque"
    return {
        "size": f"{size[0]}x{size[1]}",
        "quality": used_quality(fields),
        "background": "opaque" if background == "auto" else background,
        "output_format": fields.get("output_format") or "png",
    }
