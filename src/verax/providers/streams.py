"""Event streams of the Images API: previews as they come, and one body from the whole.

Events: `image_generation.` or `image_edit.` with `partial_image`, then `completed`.
"""

import json
from collections.abc import Callable
from typing import Any

Preview = Callable[[int, bytes], None]  # index of the partial image, its base64


class Collector:
    """Takes the chunks of a stream; knows what has come so far."""

    def __init__(self, preview: Preview | None = None) -> None:
        self._preview = preview
        self._rest: list[bytes] = []  # what has come since the last blank line
        self._completed: list[dict[str, Any]] = []
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

    def body(self) -> bytes | None:
        """The stream as one answer of the Images API; None before a picture is complete."""
        if not self._completed:
            return None
        last = self._completed[-1]
        told = ("size", "quality", "background", "output_format")
        kept: dict[str, Any] = {name: last[name] for name in told if name in last}
        data = [{"b64_json": event.get("b64_json")} for event in self._completed]
        answer: dict[str, Any] = {"created": last.get("created_at", 0), **kept, "data": data}
        if last.get("usage"):
            answer["usage"] = last["usage"]
        return json.dumps(answer).encode()

    def _take(self, block: bytes) -> None:
        lines = [line[5:].lstrip(b" ") for line in block.split(b"\n") if line.startswith(b"data:")]
        try:
            event = json.loads(b"\n".join(lines))
        except ValueError:
            return  # a heartbeat, a comment, or [DONE]
        if not isinstance(event, dict):
            return
        kind = str(event.get("type", ""))
        if kind.endswith(".completed"):
            self._completed.append(event)
        elif kind.endswith(".partial_image") and self._preview is not None:
            self._show(event)
        elif kind == "error" or "error" in event:
            self.error = event

    def _show(self, event: dict[str, Any]) -> None:
        """Hand a partial image on; one that is not as it should be is passed over."""
        index, text = event.get("partial_image_index", 0), event.get("b64_json")
        if self._preview is not None and isinstance(index, int) and isinstance(text, str):
            self._preview(index, text.encode())
