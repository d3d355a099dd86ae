"""A simulated image service for tests, on this machine only. This module checks requests.

If the environment variable VERAX_OPENAPI names a file with OpenAI's schema, requests and answers
are checked against that schema. The schema of August 2026 lacks the models 2.5 and 2.6 and their
fields; the table NEWER adds these, each with its source. Without the file, requests are checked
against the table FIELDS, with a small part of JSON Schema.
"""

import copy
import functools
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA = Path(os.environ.get("VERAX_OPENAPI", "absent"))
SDK = "openai-python 3.52.0, openai/types/image_edit_params.py and image_generate_params.py"
NEWER: dict[
    str, tuple[dict[str, Any], str]
] = {  # field: (schema of the field, source); replaces the field's entry in the schema file
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

FIELDS: dict[str, dict[str, Any]] = {  # used with NEWER if there is no schema file
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


TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


@dataclass(frozen=True, slots=True)
class Error:
    """One violation of the schema.

    Attributes:
        kind: the violated keyword of JSON Schema, such as "enum".
        path: name of the field at fault, "" for the whole object.
        names: for "additionalProperties" the allowed fields, for "required" the required ones.
    """

    kind: str
    path: str
    message: str
    names: tuple[str, ...] = ()


Check = Callable[[object], Iterator[Error]]


class Refusal(Exception):
    """Raised to send an error answer, with an HTTP status and the `error` object of the body, to
    which `more` adds keys. `param` is the field at fault, `code` the name of the error."""

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


def have_schema() -> bool:
    return SCHEMA.is_file()


@functools.cache
def validator(name: str) -> Check | None:
    """A function that yields the violations of the schema in a request or answer of kind `name`, a
    key of OFFICIAL such as "edit-form" or "models". Returns None for an answer if VERAX_OPENAPI
    names no schema file, since answers are then not checked."""
    if name in OWN and not have_schema():
        extra, required = OWN[name]
        newer = {field: schema for field, (schema, _) in NEWER.items()}
        properties = FIELDS | newer | extra
        return own_check({"properties": properties, "required": required})
    return official(name) if have_schema() else None


def official(name: str) -> Check:
    """A function that yields the violations of OpenAI's schema in a request or answer of the kind
    `name`, a key of OFFICIAL. The schema is read from the file that VERAX_OPENAPI names."""
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
    """Return `body`, an answer of the kind `name` such as "models", unchanged. Raises ValueError if
    it violates OpenAI's schema."""
    check = validator(name)
    for error in check(body) if check else ():
        raise ValueError(
            f"the test service made an answer {name!r} that violates OpenAI's schema at "
            f"{error.path or 'the top'}: {error.message}; correct the test service"
        )
    return body


def check_fields(name: str, body: dict[str, Any]) -> None:
    """Raises Refusal, as OpenAI does, if the fields `body` violate the schema of a request. `name`
    is "generate", "edit-form" or "edit-json"."""
    fields = {key: value for key, value in body.items() if value is not None}
    check = validator(name)
    for error in check(fields) if check else ():
        raise _refusal(error, fields)


def _refusal(error: Error, fields: dict[str, Any]) -> Refusal:
    """The error answer for a schema violation in the fields of a request, in OpenAI's words."""
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


def own_check(schema: dict[str, Any]) -> Check:
    """A function that yields the violations of `schema`, the JSON Schema of an object with the keys
    "properties" and "required"."""
    known, required = schema["properties"], schema["required"]

    def errors(value: object) -> Iterator[Error]:
        assert isinstance(value, dict)
        for name, one in value.items():
            if name in known:
                yield from _field(name, one, known[name])
        if set(value) - set(known):
            yield Error("additionalProperties", "", "unknown field", tuple(known))
        if set(required) - set(value):
            yield Error("required", "", "missing field", tuple(required))

    return errors


def _field(name: str, value: object, schema: dict[str, Any]) -> Iterator[Error]:
    kinds = schema.get("type", [])
    types = [kinds] if isinstance(kinds, str) else kinds
    if types and not any(_is(value, one) for one in types):
        yield Error("type", name, f"{value!r} is not of type {' or '.join(types)}")
    elif "enum" in schema and value not in schema["enum"]:
        yield Error("enum", name, f"{value!r} is not one of {schema['enum']}")
    elif "pattern" in schema and not re.search(schema["pattern"], str(value)):
        yield Error("pattern", name, f"{value!r} does not match {schema['pattern']}")
    elif isinstance(value, int) and not isinstance(value, bool):
        yield from _number(name, value, schema)
    elif isinstance(value, list):
        yield from _items(name, value, schema)
    elif isinstance(value, dict):
        yield from _reference(name, value, schema)


def _number(name: str, value: int, schema: dict[str, Any]) -> Iterator[Error]:
    if value < schema.get("minimum", value):
        yield Error("minimum", name, f"{value} is less than {schema['minimum']}")
    if value > schema.get("maximum", value):
        yield Error("maximum", name, f"{value} is greater than {schema['maximum']}")


def _items(name: str, value: list[Any], schema: dict[str, Any]) -> Iterator[Error]:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        expected = f"{schema.get('minItems', 0)} to {schema.get('maxItems', 'any number')}"
        yield Error("maxItems", name, f"expected {expected} entries, got {len(value)}")
    for one in value if "items" in schema else ():
        yield from _field(name, one, schema["items"])


def _reference(name: str, value: dict[str, Any], schema: dict[str, Any]) -> Iterator[Error]:
    known = schema.get("properties", {})
    if set(value) - set(known) or len(value) != 1:
        yield Error("maxProperties", name, f"expected one of {', '.join(known)}")
    for key, one in value.items():
        longest = known.get(key, {}).get("maxLength", len(str(one)))
        if not isinstance(one, str) or len(one) > longest:
            yield Error("type", name, f"{key}: expected a text of at most {longest} characters")


def _is(value: object, name: str) -> bool:
    exact = name != "integer" or not isinstance(value, bool)
    return isinstance(value, TYPES[name]) and exact
