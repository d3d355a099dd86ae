"""Errors as the server answers them, always in the official shape."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from starlette.responses import Response

from verax.errors import (
    BudgetExceeded,
    InputError,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    ProviderRejected,
    ProviderUncertain,
    VeraxError,
)


class Problem(Exception):
    """An answer that is an error.

    Args:
        status: HTTP status.
        message: what was wanted, what came, what to do.
        code: a short word for programs, or None.
        param: the request field at fault, or None.
        kind: the `type` of the official shape.
        headers: further headers, such as Retry-After.
        more: further keys of the error object, such as the moderation stage.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        *,
        kind: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.kind = kind
        self.headers = dict(headers or {})
        self.more = dict(more or {})

    def __reduce__(self) -> tuple[Any, ...]:
        """Whole on its way from a worker process; the arguments by name need this."""
        again = partial(Problem, kind=self.kind, headers=self.headers, more=self.more)
        return again, (self.status, self.message, self.code, self.param)

    def body(self) -> dict[str, object]:
        """The JSON body; the four official keys are always there."""
        error = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
            **self.more,
        }
        return {"error": error}


def response(problem: Problem) -> Response:
    """The HTTP answer of a problem."""
    return json_response(problem.body(), status=problem.status, headers=problem.headers)


def json_response(
    value: object, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """A JSON response with headers against caching and content sniffing."""
    data = json.dumps(value).encode()
    fixed = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Response(data, status, {**fixed, **(headers or {})}, "application/json")


def from_error(exc: VeraxError) -> Problem:
    """Verax's errors as answers; refusals keep their stage and categories."""
    text = str(exc)
    if isinstance(exc, ProviderRefused):
        details = {"moderation_stage": exc.stage, "categories": list(exc.categories)}
        return Problem(400, text, "moderation_blocked", more={"moderation_details": details})
    if isinstance(exc, InputError):
        return Problem(400, text, "invalid_value")
    if isinstance(exc, BudgetExceeded):
        return Problem(429, text, "insufficient_quota", kind="insufficient_quota")
    if isinstance(exc, ProviderBusy):
        busy = {"retry-after": "30"}
        return Problem(429, text, "rate_limit_exceeded", kind="upstream_error", headers=busy)
    if isinstance(exc, ProviderRejected):
        return Problem(400, text, "upstream_rejected", kind="upstream_error")
    if isinstance(exc, ProviderUncertain):
        return Problem(504, text, "upstream_uncertain", kind="upstream_error")
    if isinstance(exc, ProviderError):
        return Problem(502, text, "upstream_failed", kind="upstream_error")
    return unknown()


def unknown() -> Problem:
    """Generic 500 for an unexpected error; reveals no details."""
    return Problem(500, "the server could not finish this", "server_error", kind="server_error")
