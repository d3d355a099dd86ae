"""What the test service accepts: the official schema where it is present, and the extra rules.

With the official schema in a file (VERAX_OPENAPI) requests and answers are held against it. It
(August 2026) knows neither the 2.5 and 2.6 models nor their fields; NEWER lists what was added
since, each with its source. Without it our own table FIELDS decides alone.
"""

import copy
import functools
import io
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from verax.testservice.schemas import Check, Error, own_check

SCHEMA = Path(os.environ.get("VERAX_OPENAPI", "absent"))
SDK = "openai-python 3.52.0, openai/types/image_edit_params.py and image_generate_params.py"
NEWER: dict[
    str, tuple[dict[str, Any], str]
] = {  # field: (schema of the field, source); wins over the schema file
    "quality": ({"enum": ["standard", "low", "medium", "high", "xhigh", "max", "auto"]}, SDK),
    "complexity": ({"enum": ["low", "medium", "high"]}, SDK),
    "markup": ({"type": "string"}, SDK),
    "output_format": ({"enum": ["png", "jpeg", "webp", "gif", "svg"]}, SDK),
    "safety_identifier": ({"type": "string"}, SDK),
    "frame_count": ({"type": "integer", "minimum": 2, "maximum": 16}, SDK),
    "frame_duration_ms": ({"type": "integer", "minimum": 20}, SDK),
    "moderation": ({"enum": ["auto", "low"]}, "accepted in multipart through extra_body"),
    "size": ({"type": "string"}, "gpt-image-2 model page: any WxH, multiples of 16"),
}
ANSWER_NEWER: dict[str, tuple[dict[str, Any], str]] = {
    "size": ({"type": "string", "pattern": r"^(auto|\d+x\d+)$"}, "openai-python 3.52.0"),
    "quality": ({"enum": ["low", "medium", "high", "xhigh", "max", "auto"]}, "same"),
    "output_format": ({"enum": ["png", "webp", "jpeg", "gif", "svg"]}, "same"),
}

FIELDS: dict[
    str, dict[str, Any]
] = {  # our own table, for when the schema file is absent; quality and others: NEWER
    "model": {"type": "string"},
    "prompt": {"type": "string"},
    "n": {"type": "integer", "minimum": 1, "maximum": 10},
    "background": {"enum": ["transparent", "opaque", "auto"]},
    "output_compression": {"type": "integer", "minimum": 0, "maximum": 100},
    "stream": {"type": "boolean"},
    "partial_images": {"type": "integer", "minimum": 0, "maximum": 3},
    "user": {"type": "string"},
    "style": {"enum": ["vivid", "natural"]},
    "response_format": {"enum": ["url", "b64_json"]},
}
REFERENCE: dict[str, Any] = {
    "type": "object", "minProperties": 1, "maxProperties": 1, "properties": {
    "image_url": {"type": "string", "maxLength": 20_971_520}, "file_id": {"type": "string"}},
    "additionalProperties": False}  # fmt: skip
OWN: dict[str, tuple[dict[str, Any], list[str]]] = {
    "generate": ({}, ["prompt"]),
    "edit-form": ({"image": {"type": ["string", "array"], "maxItems": 16},
                   "mask": {"type": "string"}, "input_fidelity": {"enum": ["high", "low"]}},
                  ["prompt", "image"]),
    "edit-json": ({"images": {"type": "array", "minItems": 1, "maxItems": 16, "items": REFERENCE},
                   "mask": REFERENCE, "input_fidelity": {"enum": ["high", "low"]}},
                  ["prompt", "images"]),
}  # fmt: skip
OFFICIAL = {
    "generate": "CreateImageRequest",
    "edit-form": "CreateImageEditRequest",
    "edit-json": "EditImageBodyJsonParam",
    "answer": "ImagesResponse",
    "image_generation.partial_image": "ImageGenPartialImageEvent",
    "image_generation.completed": "ImageGenCompletedEvent",
    "image_edit.partial_image": "ImageEditPartialImageEvent",
    "image_edit.completed": "ImageEditCompletedEvent",
    "models": "ListModelsResponse",
    "error": "ErrorResponse",
}

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


class Refusal(Exception):
    """An error answer: HTTP status and the body's `error` object."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        **more: object,
    ) -> None:
        super().__init__(message)
        self.status = status
        kind = "invalid_request_error" if status < 500 else "server_error"
        self.error: dict[str, Any] = {
            **{"message": message, "type": kind, "param": param, "code": code},
            **more,
        }
        self.headers: dict[str, str] = {}


def size_of(data: bytes) -> tuple[int, int]:
    """(width, height) after the EXIF turn."""
    with Image.open(io.BytesIO(data)) as image:
        turned = image.getexif().get(0x0112, 1) >= 5
        return image.size[::-1] if turned else image.size


def have_schema() -> bool:
    return SCHEMA.is_file()


@functools.cache
def validator(name: str) -> Check | None:
    """The function that finds the errors of a request or answer; None where there is no schema."""
    if name in OWN and not have_schema():
        extra, required = OWN[name]
        newer = {field: schema for field, (schema, _) in NEWER.items()}
        properties = FIELDS | newer | extra
        return own_check({"properties": properties, "required": required})
    return official(name) if have_schema() else None


def official(name: str) -> Check:
    """The check of the official schema."""
    from jsonschema import Draft202012Validator

    document = json.loads(SCHEMA.read_text(encoding="utf-8"))
    schema = copy.deepcopy(document["components"]["schemas"][OFFICIAL[name]])
    newer = NEWER if name in OWN else ANSWER_NEWER if "size" in schema["properties"] else {}
    if name == "generate":
        newer = {field: entry for field, entry in newer.items() if field != "markup"}
    schema["properties"] |= {field: known for field, (known, _) in newer.items()}
    schema["additionalProperties"] = name not in OWN
    judge = Draft202012Validator(schema | {"components": document["components"]})

    def errors(value: object) -> Iterator[Error]:
        for error in judge.iter_errors(value):
            path = str(error.absolute_path[0]) if error.absolute_path else ""
            names = {"additionalProperties": error.schema.get("properties", {}),
                     "required": error.validator_value}.get(error.validator, ())  # fmt: skip
            yield Error(error.validator, path, error.message, tuple(names))

    return errors


def check_answer(name: str, body: dict[str, Any]) -> dict[str, Any]:
    """The body itself; raises ValueError when the official schema does not know it."""
    check = validator(name)
    for error in check(body) if check else ():
        raise ValueError(f"{name}: {error}")
    return body


def check_fields(name: str, body: dict[str, Any]) -> None:
    """Raise the Refusal that the service would send for fields that the schema does not accept."""
    fields = {key: value for key, value in body.items() if value is not None}
    check = validator(name)
    for error in check(fields) if check else ():
        raise _refusal(error, fields)


def _refusal(error: Error, fields: dict[str, Any]) -> Refusal:
    if error.kind == "additionalProperties":
        unknown = sorted(set(fields) - set(error.names))[0]
        text = f"Unknown parameter: '{unknown}'."
        return Refusal(400, text, unknown, "unknown_parameter")
    if error.kind == "required":
        missing = next(field for field in error.names if field not in fields)
        text = f"Missing required parameter: '{missing}'."
        return Refusal(400, text, missing, "missing_required_parameter")
    code = "invalid_type" if error.kind == "type" else "invalid_value"
    param = error.path or None
    return Refusal(400, f"Invalid value for '{param}': {error.message[:200]}", param, code)


def check_request(kind: str, body: dict[str, Any], images: list[bytes], today: str) -> None:
    """Raise the Refusal for what the schema allows but the models do not. `body` is typed."""
    model = body.get("model", "")
    if model not in MODELS:
        raise Refusal(400, f"Invalid value: '{model}'.", "model", "invalid_value")
    ends = MODELS[model]
    if ends and ends <= today:
        raise Refusal(404, f"The model `{model}` has been deprecated.", "model", "model_not_found")
    prompt = body["prompt"]
    if not prompt or len(prompt) > 32_000:
        raise Refusal(400, "prompt: want 1 to 32000 characters", "prompt", "invalid_value")
    check_model_fields(model, body)
    check_size(model, body.get("size") or "auto")
    check_images(images)


def check_model_fields(model: str, body: dict[str, Any]) -> None:
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
        raise Refusal(400, f"Unknown parameter: '{field}'.", field, "unknown_parameter")
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
        raise Refusal(400, f"{field}: not supported here", field, "invalid_value")


def check_size(model: str, size: str) -> None:
    if size == "auto":
        return
    match = re.fullmatch(r"(\d+)x(\d+)", size)
    if (model.startswith(("gpt-image-1", "chatgpt")) and size not in FIXED_SIZES) or not match:
        raise Refusal(400, f"Invalid value: '{size}'.", "size", "invalid_value")
    w, h = int(match[1]), int(match[2])
    if w % 16 or (h % 16 and not model.startswith("gpt-image-1")):
        raise Refusal(400, "Width and height must be multiples of 16.", "size", "invalid_value")
    if not 655_360 <= w * h <= 8_294_400 or max(w, h) > 3840 or max(w, h) > 3 * min(w, h):
        raise Refusal(400, f"Size {size} is out of bounds.", "size", "invalid_value")


def check_images(images: list[bytes]) -> None:
    for index, data in enumerate(images):
        if len(data) >= 50 * 1024 * 1024:
            raise Refusal(413, "Image is too large.", f"image[{index}]", "image_file_too_large")
        try:
            size_of(data)
        except OSError:
            raise Refusal(
                400, "Invalid image file.", f"image[{index}]", "invalid_image_file"
            ) from None


def check_guides(image: bytes, mask: bytes | None, markup: bytes | None) -> None:
    """Mask and markup: PNG with transparency, of the first picture's upright size, never both."""
    if mask and markup:
        raise Refusal(400, "markup cannot be used with mask", "markup", "invalid_value")
    for name, data in (("mask", mask), ("markup", markup)):
        if data is None:
            continue
        if not data.startswith(b"\x89PNG"):
            raise Refusal(400, f"{name} must be a PNG", name, "invalid_image_file")
        with Image.open(io.BytesIO(data)) as guide:
            if guide.mode not in ("RGBA", "LA") or _darkest(guide.getchannel("A")) > 0:
                raise Refusal(400, f"{name} has no transparent pixel", name, "invalid_image_file")
            if guide.size != size_of(image):
                raise Refusal(
                    400, f"{name}: another size than the image", name, "invalid_image_file"
                )
        if name == "mask" and len(data) > 4 * 1024 * 1024:
            raise Refusal(400, "mask is larger than 4 MB", name, "invalid_image_file")


def _darkest(channel: Image.Image) -> float:
    low = channel.getextrema()[0]
    return low if isinstance(low, (int, float)) else low[0]
