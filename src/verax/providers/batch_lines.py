"""The lines of batches: what may go into one, and what a result without an answer means."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from verax.errors import ProviderBusy, ProviderError, ProviderUncertain
from verax.providers.requests import GenerateRequest, Request

R = TypeVar("R", bound=GenerateRequest)
MOST_LINES = 50_000
MOST_BYTES = 200_000_000


def plain(request: R) -> R:
    """The request as a batch sends it: nothing streams there."""
    return replace(request, stream=False, partial_images=None)


def split(
    requests: Sequence[Request], *, lines: int = MOST_LINES, size: int = MOST_BYTES
) -> Iterator[list[Request]]:
    """Parts of at most so many lines and bytes, in order. Prompts are what makes lines long."""
    part: list[Request] = []
    used = 0
    for request in requests:
        length = _line_bytes(request)
        if part and (len(part) == lines or used + length > size):
            yield part
            part, used = [], 0
        part.append(request)
        used += length
    if part:
        yield part


def _line_bytes(request: Request) -> int:
    """Upper bound for the length of a line: 6 bytes per character of JSON, ids of 100 bytes."""
    return len(json.dumps(request.fields())) * 2 + 200 * len(request.files()) + 500


def status_of(response: Mapping[str, Any]) -> int:
    value = response.get("status_code")
    return value if isinstance(value, int) else 0


def unanswered(status: str, message: str) -> ProviderError:
    if status == "completed":
        return ProviderUncertain("the batch is complete but holds no answer to this call")
    return ProviderBusy(f"the batch is {status}: {message or 'this call had no turn'}")


def errors_of(told: Mapping[str, Any]) -> str:
    listed: Iterable[Mapping[str, Any]] = (told.get("errors") or {}).get("data") or []
    return "; ".join(str(one.get("message", "")) for one in listed)[:1000]
