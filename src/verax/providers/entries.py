"""Where a JSON answer holds its pictures, and how each is given: as base64 or behind a link."""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verax.errors import ProviderError

LISTS = ("data", "images", "output", "result", "results", "response", "image", "item")
INSIDE = ("b64_json", "url", "image_url", "image_base64", "base64", "b64", "image", "result")
DEPTH = 4
LONGEST_LINK = 4096  # characters of a link without a scheme; longer texts are base64
_CLOSED = re.compile(rb'"(b64_json|url)"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"')


@dataclass(frozen=True, slots=True)
class Source:
    """One picture: its bytes, or the link that leads to them."""

    data: bytes | None = None
    link: str = ""


def entries(value: object, depth: int = DEPTH) -> list[dict[str, Any]]:
    """The objects of an answer that hold a picture or a link, also where they are nested."""
    if depth == 0:
        return []
    if isinstance(value, list):
        return [one for item in value for one in entries(_entry(item), depth - 1)]
    if not isinstance(value, dict):
        return []
    nested = [one for name in LISTS for one in entries(value.get(name), depth - 1)]
    return nested or ([value] if texts(value) and not value.get("error") else [])


def asked_for(data: Mapping[str, Any]) -> int:
    """How many entries the answer has, empty ones included."""
    listed = data.get("data")
    return len(listed) if isinstance(listed, list) else 0


def sources(entry: Mapping[str, Any]) -> list[Source]:
    """The ways to the picture of an entry, best first. Raises ProviderError where there is none."""
    found, wrong = [], ""
    for text in texts(entry):
        try:
            found.append(_source(text))
        except ProviderError as exc:
            wrong = str(exc)
    if not found:
        raise ProviderError(wrong or "an entry of the answer holds no picture; it is kept")
    return found


def texts(entry: Mapping[str, Any]) -> list[str]:
    """What an entry holds that may be a picture or name one."""
    values = [entry.get(name) for name in INSIDE]
    plain = [value.get("url") if isinstance(value, dict) else value for value in values]
    return [value.strip() for value in plain if isinstance(value, str) and value.strip()]


def decoded(text: str) -> bytes:
    """The bytes of base64: also wrapped, url-safe, or without padding."""
    bare = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (ValueError, binascii.Error) as exc:
        raise ProviderError(f"the picture is no valid base64 ({exc}); the answer is kept") from exc


def salvaged(body: bytes) -> dict[str, Any] | None:
    """The whole pictures of an answer that was cut; None where it holds none."""
    found = []
    for name, text in _CLOSED.findall(body):
        try:
            found.append({name.decode(): json.loads(b'"' + text + b'"')})
        except ValueError:
            continue
    return {"data": found} if found else None


def _entry(item: object) -> object:
    """An entry as an object; some services list bare texts."""
    return {"url": item} if isinstance(item, str) else item


def _source(text: str) -> Source:
    if text[:5].lower() == "data:":
        return Source(decoded(text.partition(",")[2]))
    if is_address(text) or (len(text) < LONGEST_LINK and ("." in text or text.startswith("/"))):
        return Source(link=text)
    return Source(decoded(text))


def is_address(text: str) -> bool:
    return text[:8].lower().startswith(("http://", "https://"))
