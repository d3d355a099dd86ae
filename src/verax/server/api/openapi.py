"""The server's own description of its routes (OpenAPI 3.1)."""

from typing import Any

import verax
from verax.server.api.calls import CHOICES, MAX_PROMPT, NUMBERS

TEXT = {"type": "string", "pattern": "^[^\\x00]*$"}


def description() -> dict[str, Any]:
    """The document that /openapi.json gives."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Verax", "version": verax.__version__},
        "security": [{"key": []}, {}],
        "paths": {
            "/v1/models": {"get": _operation("models", "Models", _json("Models"))},
            "/v1/models/{name}": {
                "get": {**_operation("model", "One model", _json("Model")),
                        "parameters": [_NAME]},
            },
            "/v1/images/edits": {
                "post": {**_operation("edit", "Edits that keep the photo", _images()),
                         "parameters": [_IDEMPOTENCY], "requestBody": _edit_body()},
            },
            "/v1/images/generations": {
                "post": {**_operation("generate", "Pictures from words", _images()),
                         "parameters": [_IDEMPOTENCY],
                         "requestBody": _body("application/json", _generation())},
            },
            "/healthz": {"get": _operation("health", "Alive", _json("Health"))},
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(),
        },
    }  # fmt: skip


_NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
_IDEMPOTENCY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": 255},
}


def _operation(name: str, summary: str, content: dict[str, Any]) -> dict[str, Any]:
    error = {"description": "What went wrong", "content": _json("Error")}
    statuses = (
        "400", "401", "403", "404", "408", "409", "413", "415", "421", "429", "500", "502", "503",
        "504",
    )  # fmt: skip
    return {
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": {"description": "Done", "content": content},
            **dict.fromkeys(statuses, error),
        },
    }


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _images() -> dict[str, Any]:
    return {**_json("Images"), "text/event-stream": {"schema": {"type": "string"}}}


def _body(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {media_type: {"schema": schema}}}


def _edit_body() -> dict[str, Any]:
    file = {"type": "string", "format": "binary"}
    form = {
        "type": "object",
        "properties": {
            **_fields(),
            "image": {"oneOf": [file, {"type": "array", "items": file}]},
            "image[]": {"type": "array", "items": file, "maxItems": 16},
            "mask": file,
        },
        "required": ["image"],
    }
    reference = {
        "type": "object",
        "properties": {"image_url": {"type": "string", "pattern": "^data:image/"}},
        "required": ["image_url"],
    }
    body = {
        "type": "object",
        "properties": {
            **_fields(),
            "images": {"type": "array", "items": reference, "minItems": 1, "maxItems": 16},
            "mask": reference,
        },
        "required": ["images"],
        "additionalProperties": False,
    }
    return {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": form},
            "application/json": {"schema": body},
        },
    }


def _generation() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": _fields(),
        "required": ["prompt"],
        "additionalProperties": False,
    }


def _fields() -> dict[str, Any]:
    choices = {name: {"type": "string", "enum": list(c)} for name, c in CHOICES.items()}
    numbers = {
        name: {"type": "integer", "minimum": low, "maximum": high}
        for name, (low, high) in NUMBERS.items()
    }
    return {
        "model": TEXT,
        "prompt": {**TEXT, "maxLength": MAX_PROMPT},
        "size": TEXT,
        **choices,
        **numbers,
        "stream": {"type": "boolean"},
        "fidelity": {"type": "number", "minimum": 0, "maximum": 1},
    }


def _schemas() -> dict[str, Any]:
    text, whole = {"type": "string"}, {"type": "integer"}
    maybe = {"type": ["string", "null"]}
    error = {
        "type": "object",
        "properties": {"message": text, "type": text, "param": maybe, "code": maybe},
        "required": ["message", "type", "param", "code"],
    }
    model = {
        "type": "object",
        "properties": {"id": text, "object": {"const": "model"}, "created": whole,
                       "owned_by": text, "shutdown_date": maybe},
        "required": ["id", "object", "created", "owned_by"],
    }  # fmt: skip
    picture = {"type": "object", "properties": {"b64_json": text}, "required": ["b64_json"]}
    return {
        "Error": {"type": "object", "properties": {"error": error}, "required": ["error"]},
        "Model": model,
        "Models": {
            "type": "object",
            "properties": {
                "object": {"const": "list"},
                "data": {"type": "array", "items": {"$ref": "#/components/schemas/Model"}},
            },
            "required": ["object", "data"],
        },
        "Images": {
            "type": "object",
            "properties": {
                "created": whole,
                "data": {"type": "array", "items": picture},
                "size": text,
                "quality": text,
                "output_format": text,
                "background": text,
                "usage": {"type": "object"},
                "verax": {"type": "object"},
            },
            "required": ["created", "data", "usage"],
        },
        "Health": {
            "type": "object",
            "properties": {"status": {"const": "ok"}},
            "required": ["status"],
        },
    }
