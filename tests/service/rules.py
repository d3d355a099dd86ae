"""What the test service accepts: the official schema where it is present, and the extra rules.

The official schema (August 2026) knows neither the 2.5 and 2.6 models nor their fields; NEWER lists
what was added since, each with its source. Without the schema file our own table FIELDS decides
alone, so that the suite needs nothing beside the repository.
"""

import copy
import functools
import io
import json
import os
import re
from pathlib import Path

from PIL import Image

from service.pictures import size_of

SCHEMA = Path(
    os.environ.get(
        "VERAX_OPENAPI",
        Path(__file__).parents[3] / "shared" / "spec" / "openai-images-openapi.json",
    )
)
SDK = "openai-python 3.52.0, openai/types/image_edit_params.py and image_generate_params.py"
NEWER = {  # field: (schema of the field, source); wins over the schema file
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
ANSWER_NEWER = {
    "size": ({"type": "string", "pattern": r"^(auto|\d+x\d+)$"}, "openai-python 3.52.0"),
    "quality": ({"enum": ["low", "medium", "high", "xhigh", "max", "auto"]}, "same"),
    "output_format": ({"enum": ["png", "webp", "jpeg", "gif", "svg"]}, "same"),
}

FIELDS = {  # our own table, for when the schema file is absent; quality and others: NEWER
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
REFERENCE = {"type": "object", "minProperties": 1, "maxProperties": 1, "properties": {
    "image_url": {"type": "string", "maxLength": 20_971_520}, "file_id": {"type": "string"}},
    "additionalProperties": False}  # fmt: skip
OWN = {
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
MODELS = {  # id: shutdown date or None
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

    def __init__(self, status: int, message: str, param=None, code=None, **more) -> None:
        super().__init__(message)
        self.status = status
        kind = "invalid_request_error" if status < 500 else "server_error"
        self.error = {"message": message, "type": kind, "param": param, "code": code} | more
        self.headers: dict[str, str] = {}


def have_schema() -> bool:
    return SCHEMA.is_file()


@functools.cache
def validator(name: str):
    """A JSON schema validator for a request or an answer; None when nothing describes it."""
    from jsonschema import Draft202012Validator

    if name in OWN and not have_schema():
        extra, required = OWN[name]
        newer = {field: schema for field, (schema, _) in NEWER.items()}
        schema = {"type": "object", "properties": FIELDS | newer | extra, "required": required}
        return Draft202012Validator(schema | {"additionalProperties": False})
    if not have_schema():
        return None
    document = json.loads(SCHEMA.read_text(encoding="utf-8"))
    schema = copy.deepcopy(document["components"]["schemas"][OFFICIAL[name]])
    newer = NEWER if name in OWN else ANSWER_NEWER if "size" in schema["properties"] else {}
    if name == "generate":
        newer = {field: entry for field, entry in newer.items() if field != "markup"}
    schema["properties"] |= {field: known for field, (known, _) in newer.items()}
    schema["additionalProperties"] = name not in OWN
    return Draft202012Validator(schema | {"components": document["components"]})


def check_answer(name: str, body: dict) -> dict:
    """The body itself; raises when the official schema does not know it."""
    schema = validator(name)
    if schema is not None:
        schema.validate(body)
    return body


def check_fields(name: str, body: dict) -> None:
    """Raise the Refusal that the service would send for fields that the schema does not accept."""
    given = {key: value for key, value in body.items() if value is not None}
    for error in validator(name).iter_errors(given):
        if error.validator == "additionalProperties":
            unknown = sorted(set(given) - set(error.schema["properties"]))[0]
            raise Refusal(400, f"Unknown parameter: '{unknown}'.", unknown, "unknown_parameter")
        if error.validator == "required":
            missing = next(field for field in error.validator_value if field not in given)
            raise Refusal(
                400,
                f"Missing required parameter: '{missing}'.",
                missing,
                "missing_required_parameter",
            )
        param = str(error.absolute_path[0]) if error.absolute_path else None
        code = "invalid_type" if error.validator == "type" else "invalid_value"
        raise Refusal(400, f"Invalid value for '{param}': {error.message[:200]}", param, code)


def check_request(kind: str, body: dict, images: list[bytes], today: str) -> None:
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


def check_model_fields(model: str, body: dict) -> None:
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
            if guide.mode not in ("RGBA", "LA") or guide.getextrema()[-1][0] > 0:
                raise Refusal(400, f"{name} has no transparent pixel", name, "invalid_image_file")
            if guide.size != size_of(image):
                raise Refusal(
                    400, f"{name}: another size than the image", name, "invalid_image_file"
                )
        if name == "mask" and len(data) > 4 * 1024 * 1024:
            raise Refusal(400, "mask is larger than 4 MB", name, "invalid_image_file")
