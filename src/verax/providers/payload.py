"""Finds pictures, token counts and price in the JSON or the event stream of an answer.

Pictures arrive as base64 or as links, and services nest them in different ways. Some services leave
out token counts, send zeros, or use other names. Counts that no generated picture can have are
taken as unknown, never as zero; the journal then counts the most that the call can cost.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from verax.errors import ProviderError
from verax.providers import Usage

LISTS = ("data", "images", "output", "result", "results", "response", "image", "item")
INSIDE = ("b64_json", "url", "image_url", "image_base64", "base64", "b64", "image", "result")
DEPTH = 4
LONGEST_LINK = 4096  # characters; a longer text without http:// or https:// is base64
_CLOSED = re.compile(rb'"(b64_json|url)"\s*:\s*"([^"\\]*(?:\\.[^"\\]*)*)"')


@dataclass(frozen=True, slots=True)
class PictureSource:
    """Where the bytes of a picture are: in `data`, or if that is None, behind `link`."""

    data: bytes | None = None
    link: str = ""


def entries(value: object, depth: int = DEPTH) -> list[dict[str, Any]]:
    """The JSON objects that hold a picture or a link to one. `value`, the parsed body of an answer,
    is searched `depth` levels deep."""
    if depth == 0:
        return []
    if isinstance(value, list):
        return [one for item in value for one in entries(_entry(item), depth - 1)]
    if not isinstance(value, dict):
        return []
    nested = [one for name in LISTS for one in entries(value.get(name), depth - 1)]
    return nested or ([value] if texts(value) and not value.get("error") else [])


def entry_count(data: Mapping[str, Any]) -> int:
    """The length of the list "data" of an answer, including entries without a picture."""
    listed = data.get("data")
    return len(listed) if isinstance(listed, list) else 0


def sources(entry: Mapping[str, Any]) -> list[PictureSource]:
    """Where the picture of an entry can be read, in the order in which to try. `entry` is a JSON
    object from an answer's list of pictures. Raises ProviderError if it has no picture."""
    sources, wrong = [], ""
    for text in texts(entry):
        try:
            sources.append(_source(text))
        except ProviderError as exc:
            wrong = str(exc)
    if not sources:
        raise ProviderError(
            wrong
            or "expected a picture or a link in each entry of the answer, got none in one of them; "
            "the journal keeps the answer; to find it, run: verax journal list"
        )
    return sources


def texts(entry: Mapping[str, Any]) -> list[str]:
    """The texts in `entry`, a JSON object of an answer, that may be base64 pictures or links."""
    values = [entry.get(name) for name in INSIDE]
    plain = [value.get("url") if isinstance(value, dict) else value for value in values]
    return [value.strip() for value in plain if isinstance(value, str) and value.strip()]


def decode_base64(text: str) -> bytes:
    """Decode base64, which may have line breaks, the URL-safe alphabet, or no padding. Raises
    ProviderError for other text."""
    bare = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (ValueError, binascii.Error) as exc:
        raise ProviderError(
            f"expected a picture as base64, got other text ({exc}); the journal keeps the answer; "
            "to find it, run: verax journal list"
        ) from exc


def salvage(body: bytes) -> dict[str, Any] | None:
    """The complete pictures (base64 or links) in a truncated body, as a dict of the form
    {"data": [{"b64_json": ...}, ...]}; None if there are none."""
    pictures = []
    for name, text in _CLOSED.findall(body):
        try:
            pictures.append({name.decode(): json.loads(b'"' + text + b'"')})
        except ValueError:
            continue
    return {"data": pictures} if pictures else None


def _entry(item: object) -> object:
    """A list item of an answer as a JSON object. If it is only a text, it becomes {"url": text}."""
    return {"url": item} if isinstance(item, str) else item


def _source(text: str) -> PictureSource:
    if text[:5].lower() == "data:":
        return PictureSource(decode_base64(text.partition(",")[2]))
    if is_address(text) or (len(text) < LONGEST_LINK and ("." in text or text.startswith("/"))):
        return PictureSource(link=text)
    return PictureSource(decode_base64(text))


def is_address(text: str) -> bool:
    return text[:8].lower().startswith(("http://", "https://"))


Preview = Callable[[int, bytes], None]  # receives the index of a partial image and its base64
_HEADS = (b"event:", b"data:", b"id:", b"retry:", b":")
_ABOUT = ("size", "quality", "background", "output_format", "model", "created_at", "metadata")


class Collector:
    """Parses an event stream while its chunks arrive.

    OpenAI's events are `image_generation.partial_image` and `image_generation.completed`, or the
    same with `image_edit`. Other services use other names or nest the picture, so every event that
    is not a preview and holds a picture counts as a finished picture. `preview` receives the number
    of each preview and its base64.
    """

    def __init__(self, preview: Preview | None = None) -> None:
        self._preview = preview
        self._rest: list[bytes] = []  # received since the last blank line
        self._pictures: list[dict[str, Any]] = []
        self._about: dict[str, Any] = {}
        self.error: dict[str, Any] | None = None

    def feed(self, chunk: bytes) -> None:
        """Parse the next bytes of the stream. Lines may end with LF, CRLF or CR."""
        self._rest.append(chunk)
        if b"\n" not in chunk and b"\r" not in chunk:
            return  # inside a picture: joining now would copy megabytes again and again
        text = b"".join(self._rest)
        carry = b"\r" if text.endswith(b"\r") else b""  # perhaps half of a CRLF
        text = text.removesuffix(carry).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *blocks, rest = text.split(b"\n\n")
        self._rest = [rest + carry]
        for block in blocks:
            self._take(block)

    def answer(self) -> dict[str, Any] | None:
        """What has arrived, as a dict with the keys of the Images API; None before a picture is
        complete."""
        return {**self._about, "data": self._pictures} if self._pictures else None

    def _take(self, block: bytes) -> None:
        lines = [line for line in block.lstrip(b"\xef\xbb\xbf").split(b"\n") if line]
        name = next((line[6:].strip() for line in lines if line.startswith(b"event:")), b"")
        data = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
        for event in _events(data):
            self._take_event(str(event.get("type") or name.decode("utf-8", "replace")), event)

    def _take_event(self, kind: str, event: dict[str, Any]) -> None:
        if "partial" in kind or "partial_image_index" in event:
            self._show(event)
            return
        known = [text for one in self._pictures for text in texts(one)]
        new = [one for one in entries(event) if not set(texts(one)) & set(known)]
        self._pictures += new
        if new or event.get("usage"):
            about = {name: event[name] for name in _ABOUT if event.get(name)}
            usage = {"usage": event["usage"]} if event.get("usage") else {}
            self._about |= about | usage
        elif kind.endswith(("error", "failed")) or event.get("error"):
            self.error = event

    def _show(self, event: dict[str, Any]) -> None:
        """Pass the preview in an event to the function `preview`; ignore a malformed one."""
        index, text = event.get("partial_image_index", 0), event.get("b64_json")
        if self._preview is not None and isinstance(index, int) and isinstance(text, str):
            self._preview(index, text.encode())


def is_stream(body: bytes) -> bool:
    """Whether a body is an event stream, judged by its first bytes."""
    return body[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_HEADS)


def parse_stream(body: bytes) -> Collector:
    """Parse a whole event stream, even if the blank line at its end is missing. The result has the
    pictures in `answer()`, and an error in `error`."""
    collector = Collector()
    collector.feed(body)
    collector.feed(b"\n\n")
    return collector


def _events(data: list[bytes]) -> list[dict[str, Any]]:
    """The JSON objects in the data lines of one event; other lines, such as [DONE], are skipped.

    The standard says that the lines together are one object. If they are not, each line is parsed
    alone, since some services leave out the blank line between events.
    """
    joined = _object(b"\n".join(data))
    if joined is not None:
        return [joined]
    each = [_object(line) for line in data]
    return [one for one in each if one is not None]


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_usage(usage: object) -> Usage | None:
    """The token counts in the field `usage` of an answer; None if they are unknown.

    Every picture costs input and output tokens, so the result is None if the number of input tokens
    or of output tokens is absent or zero. Tokens that are not listed as text tokens count as image
    tokens, and so do tokens that appear in the total only.
    """
    table = _table(usage)
    total_in, total_out = _count(table, "input_tokens"), _count(table, "output_tokens")
    if not total_in or not total_out:
        return None
    beyond = max(0, (_count(table, "total_tokens") or 0) - total_in - total_out)
    text_in = min(total_in, _count(_table(table.get("input_tokens_details")), "text_tokens") or 0)
    text_out = _count(_table(table.get("output_tokens_details")), "text_tokens") or 0
    text_out = min(total_out, text_out)
    return Usage(
        input_text=text_in,
        input_image=total_in - text_in,
        output_text=text_out,
        output_image=total_out - text_out + beyond,
    )


def stated_usd(data: Mapping[str, Any]) -> float | None:
    """The price in US dollars that an answer states; None if it states no price, or zero.

    A service that passes calls on with the customer's own key for another provider bills only its
    fee; that provider bills the rest (`upstream_inference_cost`). The price is then the sum.
    """
    usage, meta = _table(data.get("usage")), _table(data.get("metadata"))
    own = meta.get("cost") if _in_dollars(meta) else None
    own = usage.get("cost") if own is None else own
    details = _table(usage.get("cost_details"))
    behind = details.get("upstream_inference_cost", usage.get("upstream_inference_cost"))
    if usage.get("is_byok") is False:  # the gateway's own key: its price includes that amount
        behind = None
    if own is None and behind is None:
        own = _table(data.get("verax")).get("cost_usd")  # the answer comes from `verax serve`
    known = [usd for usd in (_dollars(own), _dollars(behind)) if usd is not None]
    return sum(known) or None


def _in_dollars(meta: Mapping[str, Any]) -> bool:
    currency = meta.get("cost_currency") or "USD"
    return isinstance(currency, str) and currency.upper() == "USD"


def _dollars(value: object) -> float | None:
    ok = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e6
    return float(value) if ok and isinstance(value, (int, float)) else None


def _count(table: Mapping[str, Any], name: str) -> int | None:
    value = table.get(name)
    ok = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if ok else None


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
