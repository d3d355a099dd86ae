"""How long to wait before asking again: as the service wishes, else a little longer each time."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random

from verax.providers.failures import said

LONGEST_WAIT_S = 120.0  # asked to wait longer, we give up at once, as the official SDK does


def wait_s(
    headers: Mapping[str, str],
    body: bytes,
    attempt: int,
    random: Random,
    *,
    now: datetime | None = None,
) -> float | None:
    """Seconds to wait before the next attempt; None: the service asks for too long.

    The service's wish: `retry-after-ms`, `x-ms-retry-after-ms`, `retry-after` in seconds or as a
    date, or "try again in 1m2.5s" in the message. Without one: 0.5 s, doubled each time up to
    8 s, less up to a quarter by chance.
    """
    now = _date(headers.get("date", "")) or now or datetime.now(UTC)  # its clock may be wrong
    wish = _asked_s(headers, said(body).message, now)
    if wish is None:
        return min(8.0, 0.5 * 2.0**attempt) * (1.0 - 0.25 * random.random())
    return wish if wish <= LONGEST_WAIT_S else None


def _asked_s(headers: Mapping[str, str], message: str, now: datetime) -> float | None:
    for name, unit in (("retry-after-ms", 1e-3), ("x-ms-retry-after-ms", 1e-3), ("retry-after", 1)):
        seconds = _number(headers.get(name, ""))
        if seconds is not None:
            return seconds * unit
    date = _date(headers.get("retry-after", ""))
    if date is not None:
        return max(0.0, (date - now).total_seconds())
    return _in_words(message)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value >= 0 and not math.isnan(value) else None


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _in_words(message: str) -> float | None:
    """Seconds of "Please try again in 12s", "250ms", "1m30.5s"."""
    found = re.search(r"try again in ((?:[\d.]+(?:ms|h|m|s))+)", message)
    if not found:
        return None
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3}
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", found[1])
    return sum(float(number) * units[unit] for number, unit in parts)
