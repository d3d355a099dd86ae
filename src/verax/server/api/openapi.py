"""The server's own description of its routes (OpenAPI 3.1)."""

from typing import Any

import verax
from verax.server.api.models import SCHEMAS, answer_schemas, field_schemas


def description() -> dict[str, Any]:
    """The document that /openapi.json gives."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Verax", "version": verax.__version__},
        "security": [{"key": []}, {}],
        "paths": {
            "/v1/models": {"get": _operation("models", "Models", _json("ModelList"))},
            "/v1/models/{name}": {
                "get": {**_operation("model", "One model", _json("ModelEntry")),
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
            "schemas": answer_schemas(),
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
    error = {"description": "What went wrong", "content": _json("ErrorBody")}
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
    return {"application/json": {"schema": {"$ref": SCHEMAS + schema}}}


def _images() -> dict[str, Any]:
    return {**_json("ImagesBody"), "text/event-stream": {"schema": {"type": "string"}}}


def _body(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {media_type: {"schema": schema}}}


def _edit_body() -> dict[str, Any]:
    file = {"type": "string", "format": "binary"}
    form = {
        "type": "object",
        "properties": {
            **field_schemas(),
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
            **field_schemas(),
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
        "properties": field_schemas(),
        "required": ["prompt"],
        "additionalProperties": False,
    }
