"""The small part of JSON Schema that our own field table uses; no package needed."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


@dataclass(frozen=True, slots=True)
class Error:
    """One breach.

    Attributes:
        kind: the keyword that is broken, as JSON Schema calls it.
        path: the field, "" for the whole.
        names: the fields that the keyword knows.
    """

    kind: str
    path: str
    message: str
    names: tuple[str, ...] = ()


Check = Callable[[object], Iterator[Error]]


def own_check(schema: dict[str, Any]) -> Check:
    """The errors of an object with these `properties` and no others, `required` among them."""
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
        yield Error("maxItems", name, f"{len(value)} entries")
    for one in value if "items" in schema else ():
        yield from _field(name, one, schema["items"])


def _reference(name: str, value: dict[str, Any], schema: dict[str, Any]) -> Iterator[Error]:
    known = schema.get("properties", {})
    if set(value) - set(known) or len(value) != 1:
        yield Error("maxProperties", name, f"want one of {', '.join(known)}")
    for key, one in value.items():
        longest = known.get(key, {}).get("maxLength", len(str(one)))
        if not isinstance(one, str) or len(one) > longest:
            yield Error("type", name, f"{key} is no text, or too long")


def _is(value: object, name: str) -> bool:
    exact = name != "integer" or not isinstance(value, bool)
    return isinstance(value, TYPES[name]) and exact
