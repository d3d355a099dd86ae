"""The door: who may speak to the server, how much may be sent, and how slowly.

Plain ASGI, so that nothing is read before it is counted.
"""

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from verax.server.replies import Problem, response

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one request may be.

    Attributes:
        body_bytes: the whole body, whether or not its length was announced.
        parts: form fields and files together.
        field_bytes: one text field.
        pixels: one picture, by its header.
        silence_s: longest pause within a body.
        body_s: longest time for a whole body.
    """

    body_bytes: int = 128_000_000
    parts: int = 64
    field_bytes: int = 256_000
    pixels: int = 60_000_000
    silence_s: float = 15.0
    body_s: float = 120.0


class Door:
    """Refuses foreign hosts and origins, bodies that are too large, and bodies that trickle."""

    def __init__(self, app: ASGIApp, *, limits: Limits, hosts: frozenset[str]) -> None:
        self.app = app
        self.limits = limits
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        problem = self.refusal(scope)
        if problem is not None:
            await response(problem)(scope, receive, send)
            return
        await self.app(scope, self.counted(receive), send)

    def refusal(self, scope: Scope) -> Problem | None:
        """Why this request is not let in, judged by its head alone."""
        headers = Headers(scope=scope)
        host = hostname(headers.get("host", ""))
        if host not in self.hosts:
            return Problem(
                421, f"this server does not answer for the host {host[:100]!r}", "unknown_host"
            )
        origin = headers.get("origin")
        if origin and scope["method"] not in SAFE_METHODS and not same_origin(origin, headers):
            return Problem(403, "requests from other sites are not accepted", "cross_origin")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.limits.body_bytes:
            return self.too_large()
        return None

    def too_large(self) -> Problem:
        most = self.limits.body_bytes // 1_000_000
        return Problem(413, f"want a body of at most {most} MB; send less", "body_too_large")

    def counted(self, receive: Receive) -> Receive:
        """`receive` that stops a body which is too large or too slow."""
        total = 0
        started = asyncio.get_running_loop().time()
        complete = False

        async def bounded() -> Message:
            nonlocal total, complete
            if complete:
                return await receive()
            left = started + self.limits.body_s - asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(max(0.0, min(self.limits.silence_s, left))):
                    message = await receive()
            except TimeoutError:
                raise Problem(408, "the body came too slowly; send it again", "timeout") from None
            if message["type"] == "http.request":
                total += len(message.get("body", b""))
                complete = not message.get("more_body", False)
                if total > self.limits.body_bytes:
                    raise self.too_large()
            return message

        return bounded


def hostname(host: str) -> str:
    """The name in a Host header, without port and brackets, in lower case."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def same_origin(origin: str, headers: Headers) -> bool:
    """Whether the page that asks came from this very address."""
    try:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    except ValueError:
        return False
