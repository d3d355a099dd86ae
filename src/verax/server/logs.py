"""The log: one JSON object a line, written by a thread of its own.

Whoever reads the log may stall; the server must not stall with them. Lines that nobody takes are
dropped, and their number is told as soon as lines are taken again.
"""

import contextlib
import json
import logging
import queue
import threading
import time
from typing import Any, TextIO

MOST_WAITING = 10_000
PATIENCE_S = 2.0  # for the last lines, when the server ends


class LogLines:
    """Writes JSON lines to a stream; never waits for it."""

    def __init__(self, stream: TextIO, *, most_waiting: int = MOST_WAITING) -> None:
        self.stream = stream
        self.waiting: queue.Queue[dict[str, Any] | None] = queue.Queue(most_waiting)
        self.dropped = 0
        self.writer = threading.Thread(target=self._write, daemon=True)
        self.writer.start()

    def __call__(self, **line: Any) -> None:  # noqa: ANN401  # any JSON
        try:
            self.waiting.put_nowait({"at": round(time.time(), 3), **line})
        except queue.Full:
            self.dropped += 1

    def _write(self) -> None:
        while (line := self.waiting.get()) is not None:
            dropped, self.dropped = self.dropped, 0
            with contextlib.suppress(OSError, ValueError):  # nobody reads any more
                told = {**line, "lines_dropped": dropped} if dropped else line
                self.stream.write(json.dumps(told) + "\n")
                self.stream.flush()

    def close(self) -> None:
        """Write what waits, as long as somebody reads."""
        with contextlib.suppress(queue.Full):
            self.waiting.put(None, timeout=PATIENCE_S)
        self.writer.join(PATIENCE_S)


class ToLines(logging.Handler):
    """Warnings and errors of libraries, like every other line."""

    def __init__(self, lines: LogLines) -> None:
        super().__init__(logging.WARNING)
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        told = {"level": record.levelname.lower(), "message": record.getMessage().strip()}
        if record.exc_info:
            told["trace"] = logging.Formatter().formatException(record.exc_info)
        self.lines(**told)
