"""Decides whether a failed call may have been billed, and whether and when it may be repeated.

The HTTP status says whether the service certainly did not start the call; otherwise the call may
have been billed. Only a call that was not started is repeated (see docs/journal.md). An error body
of the Images API is {"error": {"message", "type", "param", "code"}}. Services that pass calls on
put it into other objects or into strings, so the whole body is searched for codes.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
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

# With these, a service rejects a request before it starts. Not among them are 303, since the result
# may lie at another address, and 408, 409 and 499, since the call may be in progress.
NOT_BEGUN = {300, 301, 302, 304, 305, 307, 308, *range(400, 408), *range(410, 418)}
NOT_BEGUN |= {421, 422, 423, 425, 426, 428, 429, 431, 451}
BUSY = {425, 429}  # not started; the same request may be accepted later
FREE_AGAIN = {408, 409, 425, 429}  # free requests are repeated after these and after every 5xx
BY_CODE_ALONE = {401, 402, 404, 413, 429}  # only a code means moderation here, not the message
_MODERATION = re.compile(
    r"moderation|content_?polic|content_?filter|content_?management|safety|responsibleai"
    r"|prohibited_content|sensitive|nsfw"
)
_MODERATED = re.compile(
    r"safety system|content[ _]polic|content management polic|safety_violations|violat\w* .*polic"
    r"|(?:reject|flag|block|filter)\w* .*(?:safety|moderation|polic)|敏感|违规"
)
_NOT_ENOUGH = r"insufficient(?!.?(?:perm|scop|priv|right|acc))"  # but not insufficient permissions
_NO_MONEY = re.compile(rf"{_NOT_ENOUGH}|billing|balance|arrear|credit|(?<!rate_)quota")
_EMPTY_PURSE = re.compile(rf"{_NOT_ENOUGH}|balance|top.?up|recharge|out of credits|余额|额度不足")


@dataclass(frozen=True, slots=True)
class ErrorDetails:
    """What the body of an error answer says.

    Attributes:
        code, param: the error's code or else type, and the request field at fault; "" if absent.
        stage: what moderation refused: "input", "output" or "unknown".
        explicit: whether a field states `stage`; otherwise it is guessed from the message.
        categories: why moderation refused it, such as "violence".
        moderated: whether moderation refused the request, according to a code or the message.
        coded: whether an error code says that moderation refused the request.
        no_money: whether the account has no credit left.
    """

    message: str
    code: str = ""
    param: str = ""
    stage: str = "unknown"
    explicit: bool = False
    categories: tuple[str, ...] = ()
    moderated: bool = False
    coded: bool = False
    no_money: bool = False

    @property
    def sure_stage(self) -> str:
        """`stage`, but "unknown" for a guessed "input", since a refused input counts as free."""
        return self.stage if self.explicit or self.stage == "output" else "unknown"


def parse_error(body: bytes) -> ErrorDetails:
    """What the body of an error answer says. If it is not JSON, its text is the message."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return _details(_plain(body), {}, ())
    error = _error(data)
    if not isinstance(error, dict):
        return _details(str(error)[:500], {}, ())
    message = str(error.get("message") or error.get("detail") or error)[:2000]
    return _details(message, error, tuple(_codes(data)))


def _details(message: str, error: Mapping[str, Any], codes: tuple[str, ...]) -> ErrorDetails:
    inner = _table(error.get("inner_error") or error.get("innererror"))
    details = _table(error.get("moderation_details"))
    listed = details.get("categories")
    categories = listed if isinstance(listed, list) and listed else _categories(message, inner)
    stage, explicit = _stage(details, message)
    param = str(error.get("param") or "")
    return ErrorDetails(
        message=message,
        code=str(error.get("code") or error.get("type") or ""),
        param=param,
        stage=stage,
        explicit=explicit,
        categories=tuple(map(str, categories)),
        moderated=_is_moderated(codes, message, param),
        coded=any(_MODERATION.search(code) for code in codes),
        no_money=any(_NO_MONEY.search(code) for code in codes)
        or bool(_EMPTY_PURSE.search(message.lower())),
    )


def _error(data: object) -> object:
    """The innermost value under "error" or "errors" in `data` (parsed JSON), else `data` itself."""
    for _ in range(4):
        if not isinstance(data, dict):
            break
        listed = data.get("errors")
        inner = data.get("error") or (listed[0] if isinstance(listed, list) and listed else None)
        if not inner:
            break
        data = inner
    return data


def _codes(data: object, depth: int = 5) -> Iterator[str]:
    """The error codes and types, in lower case, in `data` (parsed JSON) and in texts in it that are
    JSON themselves, searched at most `depth` levels deep."""
    if depth == 0:
        return
    if isinstance(data, str) and data.lstrip()[:1] in ("{", "["):
        with suppress(ValueError, RecursionError):
            yield from _codes(json.loads(data), depth - 1)
    elif isinstance(data, list):
        for one in data[:20]:
            yield from _codes(one, depth - 1)
    elif isinstance(data, dict):
        for name, value in data.items():
            if name in ("code", "type", "error_code") and isinstance(value, (str, int)):
                yield str(value).lower()
            elif name not in ("data", "usage"):
                yield from _codes(value, depth - 1)


def _is_moderated(codes: tuple[str, ...], message: str, param: str) -> bool:
    """Whether codes mean moderation, or `param` (the field at fault) is "" and the message does."""
    if any(_MODERATION.search(code) for code in codes):
        return True
    telling = [code for code in codes if not _says_nothing(code)]
    if "image_generation_user_error" in codes and not telling and not param:
        return True
    return not param and bool(_MODERATED.search(message.lower()))


def _says_nothing(code: str) -> bool:
    return code.isdecimal() or code in ("", "null", "none", "image_generation_user_error", "error")


def failure(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    where: str,
    clean: Callable[[str], str],
    paid: bool = True,
) -> ProviderError:
    """The exception for an answer whose HTTP status is not 2xx; its class says whether the call may
    have been billed. `where` names the service in the message, `clean` removes keys from a text,
    and `paid` is False if the request is free."""
    details = parse_error(body)
    tail = f" (request {name})" if (name := headers.get("x-request-id")) else ""
    text = f"{where}: HTTP {status} {details.code}: {details.message}{tail}".replace(" :", ":")
    if _refuses(status, details):
        stage = details.stage if status in NOT_BEGUN else details.sure_stage
        return ProviderRefused(
            clean(f"{where}: moderation refused the request at the {stage} stage: ")
            + clean(f"{details.message}{tail}"),
            stage=stage,
            categories=tuple(map(clean, details.categories)),
        )
    if not paid and (status in FREE_AGAIN or status >= 500):
        return ProviderBusy(clean(text))
    if status not in NOT_BEGUN and paid:
        return ProviderUncertain(clean(f"{text}; the call may have been billed"))
    if details.no_money or status == 402:
        return ProviderRejected(clean(f"{text}; top up the account or raise its limit"))
    if status in BUSY:
        return ProviderBusy(clean(text))
    if 300 <= status < 400:
        to = headers.get("location", "elsewhere")
        return ProviderRejected(clean(f"{where} redirects to {to}; set that as --base-url"))
    return ProviderRejected(clean(text))


def may_repeat(status: int, headers: Mapping[str, str], body: bytes, *, paid: bool = True) -> bool:
    """Whether to repeat a failed request: a paid one after 425 or 429, unless moderation or lack of
    credit is the reason; a free one after 408, 409, 425, 429 and 5xx. The service's header
    x-should-retry may forbid it."""
    if headers.get("x-should-retry", "").lower() == "false":
        return False
    if not paid:
        return status in FREE_AGAIN or status >= 500
    details = parse_error(body)
    return status in BUSY and not details.no_money and not _refuses(status, details)


def _refuses(status: int, details: ErrorDetails) -> bool:
    return details.coded or (details.moderated and status not in BY_CODE_ALONE)


def _stage(moderation_details: Mapping[str, Any], message: str) -> tuple[str, bool]:
    """What moderation refused ("input", "output", "unknown"), and whether a field states it."""
    stage = moderation_details.get("moderation_stage")
    if stage in ("input", "output"):
        return str(stage), True
    words = message.lower()
    if re.search(r"\b(output|generated)\b", words):
        return "output", False
    return ("input" if re.search(r"\b(input|prompt|uploaded)\b", words) else "unknown"), False


def _categories(message: str, inner_error: Mapping[str, Any]) -> list[str]:
    """The moderation categories in the message, or else in Azure's `inner_error`; [] if none."""
    match = re.search(r"(?:safety_violations|categories)\s*[=:]\s*\[([^\]]*)\]", message)
    if match:
        return [word.strip(" '\"") for word in match[1].split(",") if word.strip(" '\"")]
    results = _table(inner_error.get("content_filter_results"))
    return [name for name, result in results.items() if _table(result).get("filtered")]


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _plain(body: bytes) -> str:
    """The text of a body that is not JSON, without HTML tags, at most 300 characters."""
    text = body.decode("utf-8", "replace")
    text = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", text, flags=re.S)
    return " ".join(text.split())[:300] or "no explanation"


LONGEST_WAIT_S = 120.0  # for a longer wait the call is given up, as the official SDK does


def wait_s(
    headers: Mapping[str, str],
    body: bytes,
    attempt: int,
    random: Random,
    *,
    now: datetime | None = None,
) -> float | None:
    """Seconds to wait after a failed attempt; None if the service demands more than 120 s.

    The service demands a wait in the `headers` retry-after-ms, x-ms-retry-after-ms or retry-after
    (seconds or a date), or in the message in `body` ("try again in 1m2.5s"). Otherwise the wait is
    0.5 s after attempt 0, doubled for each further attempt up to 8 s, less a `random` 0 to 25 %.
    `now` is the present time if the header "date" is absent; None reads the clock.
    """
    now = _date(headers.get("date", "")) or now or datetime.now(UTC)  # the service's own clock
    requested = _retry_after_s(headers, parse_error(body).message, now)
    if requested is None:
        return min(8.0, 0.5 * 2.0**attempt) * (1.0 - 0.25 * random.random())
    return requested if requested <= LONGEST_WAIT_S else None


def _retry_after_s(headers: Mapping[str, str], message: str, now: datetime) -> float | None:
    for name, unit in (("retry-after-ms", 1e-3), ("x-ms-retry-after-ms", 1e-3), ("retry-after", 1)):
        seconds = _number(headers.get(name, ""))
        if seconds is not None:
            return seconds * unit
    if (date := _date(headers.get("retry-after", ""))) is not None:
        return max(0.0, (date - now).total_seconds())
    return _seconds_in(message)


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


def _seconds_in(message: str) -> float | None:
    """The seconds in a message such as "try again in 12s", "250ms" or "1m30.5s"; None if none."""
    match = re.search(r"try again in ((?:[\d.]+(?:ms|h|m|s))+)", message)
    if not match:
        return None
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3}
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", match[1])
    return sum(float(number) * units[unit] for number, unit in parts)
