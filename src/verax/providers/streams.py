"""Event streams of the Images API: previews as they come, and one answer from the whole.

Events: `image_generation.` or `image_edit.` with `partial_image`, then `completed`. Relays name
them otherwise, only in the `event:` line, or nest the picture: every event that holds a picture
and is no preview counts as one.
"""

import json
from collections.abc import Callable
from typing import Any

from verax.providers.entries import entries, texts

Preview = Callable[[int, bytes], None]  # index of the partial image, its base64
_HEADS = (b"event:", b"data:", b"id:", b"retry:", b":")
_TOLD = ("size", "quality", "background", "output_format", "model", "created_at", "metadata")


class Collector:
    """Takes the chunks of a stream; knows what has come so far."""

    def __init__(self, preview: Preview | None = None) -> None:
        self._preview = preview
        self._rest: list[bytes] = []  # what has come since the last blank line
        self._pictures: list[dict[str, Any]] = []
        self._about: dict[str, Any] = {}
        self.error: dict[str, Any] | None = None

    def hear(self, chunk: bytes) -> None:
        """Take the next bytes. Lines end with LF, CRLF or CR as the standard allows."""
        self._rest.append(chunk)
        if b"\n" not in chunk and b"\r" not in chunk:
            return  # inside a picture: joining now would copy megabytes again and again
        text = b"".join(self._rest)
        held = b"\r" if text.endswith(b"\r") else b""  # perhaps half of a CRLF
        text = text.removesuffix(held).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *blocks, rest = text.split(b"\n\n")
        self._rest = [rest + held]
        for block in blocks:
            self._take(block)

    def answer(self) -> dict[str, Any] | None:
        """The stream as one answer of the Images API; None before a picture is complete."""
        return {**self._about, "data": self._pictures} if self._pictures else None

    def _take(self, block: bytes) -> None:
        lines = [line for line in block.lstrip(b"\xef\xbb\xbf").split(b"\n") if line]
        name = next((line[6:].strip() for line in lines if line.startswith(b"event:")), b"")
        data = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
        for event in _events(data):
            self._hear_event(str(event.get("type") or name.decode("utf-8", "replace")), event)

    def _hear_event(self, kind: str, event: dict[str, Any]) -> None:
        if "partial" in kind or "partial_image_index" in event:
            self._show(event)
            return
        known = [text for one in self._pictures for text in texts(one)]
        found = [one for one in entries(event) if not set(texts(one)) & set(known)]
        self._pictures += found
        if found or event.get("usage"):
            told = {name: event[name] for name in _TOLD if event.get(name)}
            usage = {"usage": event["usage"]} if event.get("usage") else {}
            self._about |= told | usage
        elif kind.endswith(("error", "failed")) or event.get("error"):
            self.error = event

    def _show(self, event: dict[str, Any]) -> None:
        """Hand a partial image on; one that is not as it should be is passed over."""
        index, text = event.get("partial_image_index", 0), event.get("b64_json")
        if self._preview is not None and isinstance(index, int) and isinstance(text, str):
            self._preview(index, text.encode())


def is_stream(body: bytes) -> bool:
    """Whether a body is events, whatever its headers say."""
    return body[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_HEADS)


def whole(body: bytes) -> Collector:
    """Everything that a stream holds, also where its last blank line is missing."""
    collector = Collector()
    collector.hear(body)
    collector.hear(b"\n\n")
    return collector


def _events(data: list[bytes]) -> list[dict[str, Any]]:
    """The JSON objects of one block; heartbeats, comments and [DONE] are none.

    Several lines are one object by the standard, an object each where a relay forgets the blank
    line between two events.
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
