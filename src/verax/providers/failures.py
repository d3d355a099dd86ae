"""What an error answer means: refused, wrong, busy or uncertain; and how long to wait.

Body of an error in the Images API: {"error": {"message", "type", "param", "code"}}.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random
from typing import Any

from verax.errors import (
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    ProviderRejected,
    ProviderUncertain,
)

LONGEST_WAIT_S = 120.0  # asked to wait longer, we give up at once, as the official SDK does
REPEATABLE = {408, 409, 429, 500, 502, 503, 529}
# A proxy gave up waiting for the service behind it, which may go on and bill.
UNCERTAIN = {504, 520, 522, 524, 598, 599}
_MODERATION = {
    "moderation_blocked",
    "content_policy_violation",
    "image_content_policy_violation",
    "content_filter",
    "contentfilter",
    "responsibleaipolicyviolation",
}
_NO_MONEY = {"insufficient_quota", "billing_hard_limit_reached", "insufficient_balance"}


@dataclass(frozen=True, slots=True)
class Said:
    """What an error body says."""

    message: str
    code: str = ""
    param: str = ""
    stage: str = "unknown"
    categories: tuple[str, ...] = ()
    moderated: bool = False


def said(body: bytes) -> Said:
    """The error of a body; any body at all is understood somehow."""
    try:
        data = json.loads(body)
    except ValueError:
        return Said(_plain(body))
    error = data.get("error", data) if isinstance(data, dict) else data
    if not isinstance(error, dict):
        return Said(str(error)[:500])
    message = str(error.get("message") or error.get("detail") or error)[:2000]
    inner = _table(error.get("inner_error") or error.get("innererror"))
    codes = {str(error.get("code") or "").lower(), str(inner.get("code") or "").lower()}
    details = _table(error.get("moderation_details"))
    categories = details.get("categories")
    listed = categories if isinstance(categories, list) and categories else None
    return Said(
        message=message,
        code=str(error.get("code") or error.get("type") or ""),
        param=str(error.get("param") or ""),
        stage=_stage(details, message),
        categories=tuple(map(str, listed or _categories(message, inner))),
        moderated=bool(codes & _MODERATION),
    )


def failure(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    where: str,
    clean: Callable[[str], str],
) -> ProviderError:
    """The error for an answer that is not 2xx; `clean` takes keys out of the service's words."""
    told = said(body)
    request_id = headers.get("x-request-id", "")
    tail = f" (request {request_id})" if request_id else ""
    text = f"{where}: HTTP {status} {told.code}: {told.message}{tail}".replace(" :", ":")
    if told.moderated:
        return ProviderRefused(
            clean(f"{where}: refused at the {told.stage} stage: {told.message}{tail}"),
            stage=told.stage,
            categories=told.categories,
        )
    if status in UNCERTAIN:
        return ProviderUncertain(clean(f"{text}; the call may have been billed"))
    if told.code.lower() in _NO_MONEY or status == 402:
        return ProviderRejected(clean(f"{text}; top up the account or raise its limit"))
    if status in REPEATABLE or status >= 500:
        return ProviderBusy(clean(text))
    if 300 <= status < 400:
        to = headers.get("location", "elsewhere")
        return ProviderRejected(clean(f"{where} redirects to {to}; set that as --base-url"))
    return ProviderRejected(clean(text))


def may_repeat(status: int, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether the same request may be sent again, because surely nothing was billed."""
    if status in UNCERTAIN or status < 400:
        return False
    told = said(body)
    if told.moderated or told.code.lower() in _NO_MONEY:
        return False
    wish = headers.get("x-should-retry", "").lower()
    if wish in ("true", "false"):
        return wish == "true"
    return status in REPEATABLE or status >= 500


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
    wish = _asked_s(headers, said(body).message, now or datetime.now(UTC))
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


def _stage(details: Mapping[str, Any], message: str) -> str:
    told = details.get("moderation_stage")
    if told in ("input", "output"):
        return str(told)
    words = message.lower()
    if re.search(r"\b(output|generated images?)\b", words):
        return "output"
    return "input" if re.search(r"\b(input|prompt|uploaded)\b", words) else "unknown"


def _categories(message: str, inner: Mapping[str, Any]) -> list[str]:
    """Categories as the message lists them, or as Azure's filter results name them."""
    found = re.search(r"(?:safety_violations|categories)\s*[=:]\s*\[([^\]]*)\]", message)
    if found:
        return [word.strip(" '\"") for word in found[1].split(",") if word.strip(" '\"")]
    results = _table(inner.get("content_filter_results"))
    return [name for name, result in results.items() if _table(result).get("filtered")]


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _plain(body: bytes) -> str:
    """The words of a body that is no JSON, such as a proxy's error page."""
    text = re.sub(
        r"<(script|style).*?</\1>|<[^>]*>", " ", body.decode("utf-8", "replace"), flags=re.S
    )
    return " ".join(text.split())[:300] or "no explanation"
