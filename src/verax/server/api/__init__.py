"""The requests and answers of the OpenAI-compatible API, as pydantic models.

Requests are checked against the models, and /openapi.json (OpenAPI 3.1) is generated from them. In
forms, numbers and booleans are texts. A field that is null in JSON counts as absent.
"""

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import Annotated, Any, Literal, TypeGuard

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic.json_schema import models_json_schema
from pydantic_core import ErrorDetails as FieldError
from pydantic_core import PydanticCustomError

import verax
from verax.fusion.dial import DEFAULT as DEFAULT_FIDELITY
from verax.server import Problem

MAX_PROMPT = 32_000
FLAGS = {None: False, False: False, True: True, "true": True, "false": False, "": False}
SCHEMAS = "#/components/schemas/"


def whole_number(value: object) -> int:
    """The whole number in `value`, a JSON number or a text such as "2". Raises PydanticCustomError
    for any other value."""
    with suppress(ValueError):
        number = int(value) if isinstance(value, str) else value
        if isinstance(number, int) and not isinstance(number, bool):
            return number
    expected = "expected a whole number such as 2, got {value}"
    raise PydanticCustomError("whole_number", expected, {"value": f"{value!r:.60}"})


def flag(value: object) -> bool:
    """The boolean in `value`, a JSON boolean, "true" or "false"; "" and null are false. Raises
    PydanticCustomError for any other value."""
    if not isinstance(value, bool | str | type(None)) or value not in FLAGS:
        expected = "expected true or false, got {value}"
        raise PydanticCustomError("flag", expected, {"value": f"{value!r:.60}"})
    return FLAGS[value]


Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
Whole = Annotated[int, BeforeValidator(whole_number)]
Flag = Annotated[bool, BeforeValidator(flag), WithJsonSchema({"type": "boolean"})]
Share = Annotated[
    float,
    Field(ge=0, le=1, allow_inf_nan=False),
    BeforeValidator(lambda value: DEFAULT_FIDELITY if value is None else value),
]


class ImageFields(BaseModel):
    """The fields of a request for pictures, without pictures; `fidelity` (0..1) is Verax's own."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    model: Text | None = None
    prompt: Annotated[Text, Field(max_length=MAX_PROMPT)] | None = None
    size: Text | None = None
    quality: Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"] | None = (
        None
    )
    complexity: Text | None = None
    background: Literal["transparent", "opaque", "auto"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: Annotated[Whole, Field(ge=0, le=100)] | None = None
    moderation: Literal["auto", "low"] | None = None
    input_fidelity: Text | None = None
    safety_identifier: Text | None = None
    user: Text | None = None
    response_format: Literal["b64_json"] | None = None
    style: Text | None = None
    n: Annotated[Whole, Field(ge=1, le=10)] | None = None
    partial_images: Annotated[Whole, Field(ge=0, le=3)] | None = None
    stream: Flag = False
    fidelity: Share = DEFAULT_FIDELITY

    def options(self) -> dict[str, Any]:
        """The fields that are set, by name, except model, prompt, stream and fidelity."""
        return self.model_dump(exclude_none=True, exclude={"model", "prompt", "stream", "fidelity"})


def read_fields(values: Mapping[str, Any]) -> ImageFields:
    """The fields `values` of a request, checked. Raises Problem 400 that names a wrong field."""
    name = next((name for name in values if not is_text(name)), None)
    if name is not None:
        label = name.encode("utf-8", "replace").decode()[:60]
        raise unknown_field(label)
    try:
        return ImageFields.model_validate(values)
    except ValidationError as exc:
        errors = exc.errors(include_url=False)
        first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
        raise field_problem(first) from None


def unknown_field(name: str) -> Problem:
    text = f"unknown parameter {name!r}; remove it, or correct its name as in GET /openapi.json"
    return Problem(400, text, "unknown_parameter", name)


def field_problem(error: FieldError) -> Problem:
    """The error answer for one wrong field that pydantic found."""
    name, kind, value = str(error["loc"][0])[:60], error["type"], error["input"]
    if kind == "extra_forbidden":
        return unknown_field(name)
    text = isinstance(value, str)
    limits = error.get("ctx", {})
    words = {
        "literal_error": f"expected {limits.get('expected')}, got {str(value)[:60]!r}",
        "string_too_long": f"expected at most {limits.get('max_length')} characters, "
        f"got {len(value) if text else 0}",
        "greater_than_equal": f"expected at least {limits.get('ge')}, got {value}",
        "less_than_equal": f"expected at most {limits.get('le')}, got {value}",
    }
    if kind in words and (text or kind != "literal_error"):
        return Problem(400, f"{name}: {words[kind]}", "invalid_value", name)
    plain = "expected text" if kind.startswith(("string", "literal")) else "expected a number"
    if text and plain == "expected text":
        plain = "expected text without NUL characters and lone surrogates"
    message = error["msg"] if kind in ("whole_number", "flag") else f"{plain}, got {value!r:.60}"
    return Problem(400, f"{name}: {message}", "invalid_type", name)


def is_text(value: object) -> TypeGuard[str]:
    """Whether a value is a text with neither NUL characters nor lone surrogates."""
    if not isinstance(value, str) or "\x00" in value:
        return False
    return not any("\ud800" <= sign <= "\udfff" for sign in value)


class ErrorFields(BaseModel):
    """The object "error" in the body of an error answer."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every error answer."""

    error: ErrorFields


class ModelEntry(BaseModel):
    """A model that requests may name; `created` is 0, `shutdown_date` an ISO date or null."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    shutdown_date: str | None = None


class ModelList(BaseModel):
    """The answer to GET /v1/models."""

    object: Literal["list"]
    data: list[ModelEntry]


class PictureEntry(BaseModel):
    """One picture of an answer: its file as base64."""

    b64_json: str


class ImagesBody(BaseModel):
    """The answer to an edit or generation; `verax` holds cost, warnings and restoration records."""

    created: int
    data: list[PictureEntry]
    size: str | None = None
    quality: str | None = None
    output_format: str | None = None
    background: str | None = None
    usage: dict[str, Any] | None
    verax: dict[str, Any] | None = None


class Health(BaseModel):
    """The answer to GET /healthz."""

    status: Literal["ok"]


def field_schemas() -> dict[str, Any]:
    """The JSON schemas of all fields of a request for pictures, by field name."""
    properties: dict[str, Any] = ImageFields.model_json_schema()["properties"]
    return properties


def answer_schemas() -> dict[str, Any]:
    """The JSON schemas of all answers, by the name of their class."""
    kinds = (ErrorBody, ModelList, ImagesBody, Health)
    _, schemas = models_json_schema(
        [(kind, "serialization") for kind in kinds], ref_template=SCHEMAS + "{model}"
    )
    definitions: dict[str, Any] = schemas["$defs"]
    return definitions


@cache
def description() -> dict[str, Any]:
    """The OpenAPI document that /openapi.json returns."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Verax", "version": verax.__version__},
        "security": [{"key": []}, {}],
        "paths": {
            "/v1/models": {"get": _operation("models", "List the models", _json("ModelList"))},
            "/v1/models/{name}": {
                "get": {**_operation("model", "Describe one model", _json("ModelEntry")),
                        "parameters": [_NAME]},
            },
            "/v1/images/edits": {
                "post": {**_operation("edit", "Restore a photo, or edit pictures", _images()),
                         "parameters": [_IDEMPOTENCY], "requestBody": _edit_body()},
            },
            "/v1/images/generations": {
                "post": {**_operation("generate", "Generate pictures from a prompt", _images()),
                         "parameters": [_IDEMPOTENCY],
                         "requestBody": _body(_object(field_schemas(), "prompt"))},
            },
            "/healthz": {"get": _operation("health", "Whether the server runs", _json("Health"))},
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": answer_schemas(),
        },
    }  # fmt: skip


_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
_IDEMPOTENCY = {"name": "Idempotency-Key", "in": "header", "required": False,
                "schema": {"type": "string", "maxLength": 255}}  # fmt: skip


def _operation(name: str, summary: str, content: dict[str, Any]) -> dict[str, Any]:
    error = {"description": "Error", "content": _json("ErrorBody")}
    statuses = (
        "400", "401", "403", "404", "408", "409", "413", "415", "421", "429", "500", "502", "503",
        "504",
    )  # fmt: skip
    return {
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": {"description": "Success", "content": content},
            **dict.fromkeys(statuses, error),
        },
    }


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": SCHEMAS + schema}}}


def _images() -> dict[str, Any]:
    return {**_json("ImagesBody"), "text/event-stream": {"schema": {"type": "string"}}}


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _object(properties: dict[str, Any], *required: str, closed: bool = True) -> dict[str, Any]:
    """The JSON schema of an object with these properties and, if `closed`, no others."""
    shape = {"type": "object", "properties": properties, "required": list(required)}
    return {**shape, "additionalProperties": False} if closed else shape


def _edit_body() -> dict[str, Any]:
    file = {"type": "string", "format": "binary"}
    files = {
        "image": {"oneOf": [file, {"type": "array", "items": file}]},
        "image[]": {"type": "array", "items": file, "maxItems": 16},
        "mask": file,
    }
    address = {"type": "string", "pattern": "^data:image/"}
    reference = _object({"image_url": address}, "image_url", closed=False)
    references = {
        "images": {"type": "array", "items": reference, "minItems": 1, "maxItems": 16},
        "mask": reference,
    }
    form = _object({**field_schemas(), **files}, "image", closed=False)
    body = _object({**field_schemas(), **references}, "images")
    return {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": form},
            "application/json": {"schema": body},
        },
    }
