"""Access control by client key, host and origin; limits of size and time.

Limits, hosts and origins are plain ASGI, so that nothing is read before it is counted. Keys of
clients are made here, shown once, and stored as hashes: they are 256 random bits, so a plain
SHA-256 is enough.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from verax.errors import InputError
from verax.server import Problem, response
from verax.store import open_database

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
CLOSE = {"connection": "close"}  # nothing more is read from this connection
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Limits of one request.

    Attributes:
        body_bytes: the whole body, whether or not its length was announced.
        parts: form fields and files together.
        field_bytes: one text field.
        pixels: one picture, by its header.
        json_bytes: a body of JSON, which has to be read as a whole.
        together_bytes: the bodies of all requests under way.
        head_s: longest time for the head of a request, and for an idle connection.
        silence_s: longest pause within a body.
        body_s: longest time for a whole body.
        taking_s: longest time in which a client reads nothing of its answer.
        fetch_hosts: hosts (or host:port) from which pictures may be fetched by their address.
    """

    body_bytes: int = 128_000_000
    json_bytes: int = 64_000_000
    together_bytes: int = 2_000_000_000
    parts: int = 64
    field_bytes: int = 256_000
    pixels: int = 60_000_000
    head_s: float = 30.0
    silence_s: float = 15.0
    body_s: float = 120.0
    taking_s: float = 60.0
    fetch_hosts: frozenset[str] = frozenset()


class AccessControl:
    """ASGI middleware that rejects foreign hosts and origins, and bodies too large or too slow."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: ServerLimits,
        hosts: frozenset[str],
        allows: Callable[[str], bool] = lambda origin: False,
    ) -> None:
        self.app, self.allows = app, allows
        self.limits = limits
        self.hosts = hosts
        self.together = 0  # bytes of bodies under way
        self.turn = asyncio.Semaphore(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        problem = self.refusal(scope)
        if problem is not None:
            await response(problem)(scope, receive, send)
            return
        body = Body()
        try:
            await self.app(scope, self.counted(receive, body), send)
        finally:
            self.together -= body.total

    def refusal(self, scope: Scope) -> Problem | None:
        """The refusal of a request, judged by its head alone; None if it is accepted."""
        headers = Headers(scope=scope)
        host = hostname(headers.get("host", ""))
        if host not in self.hosts:
            return Problem(
                421, f"this server does not answer for the host {host[:100]!r}", "unknown_host"
            )
        origin = headers.get("origin")
        foreign = origin and not same_origin(origin, headers) and not self.allows(origin)
        if foreign and scope["method"] not in SAFE_METHODS:
            return Problem(403, "requests from other sites are not accepted", "cross_origin")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.limits.body_bytes:
            return self.too_large()
        return None

    def too_large(self) -> Problem:
        most = self.limits.body_bytes // 1_000_000
        text = f"expected a body of at most {most} MB; send less"
        return Problem(413, text, "body_too_large", headers=CLOSE)

    def counted(self, receive: Receive, body: "Body") -> Receive:
        """`receive` that stops a body which is too large or too slow."""
        started = asyncio.get_running_loop().time()

        async def bounded() -> Message:
            if body.complete:
                return await receive()
            left = started + self.limits.body_s - asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(max(0.0, min(self.limits.silence_s, left))):
                    message = await receive()
            except TimeoutError:
                text = "the body arrived too slowly; send it again"
                raise Problem(408, text, "timeout", headers=CLOSE) from None
            if message["type"] == "http.request":
                self.count(body, len(message.get("body", b"")))
                body.complete = not message.get("more_body", False)
                await self.one_at_a_time()
            return message

        return bounded

    async def one_at_a_time(self) -> None:
        """Yield after each chunk, so that uploads cannot starve quick requests."""
        await self.turn.acquire()
        asyncio.get_running_loop().call_soon(self.turn.release)

    def count(self, body: "Body", size: int) -> None:
        """Add received bytes to the totals. Raises Problem 413 or 429 above a limit."""
        body.total += size
        self.together += size
        if body.total > self.limits.body_bytes:
            raise self.too_large()
        if self.together > self.limits.together_bytes:
            raise Problem(
                429,
                "other clients are sending large pictures; try again soon",
                "rate_limit_exceeded",
                kind="rate_limit_error",
                headers={"retry-after": "10", **CLOSE},
            )


@dataclass(slots=True)
class Body:
    """The progress of a request's body: bytes received, and whether it is complete."""

    total: int = 0
    complete: bool = False


def hostname(host: str) -> str:
    """The name in a Host header, without port and brackets, in lower case."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def same_origin(origin: str, headers: Headers) -> bool:
    """Whether the origin of a request is this server itself."""
    try:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    except ValueError:
        return False


EXPOSED = "x-request-id, retry-after"
PREFLIGHT = {
    "access-control-allow-methods": "GET, POST, DELETE",
    "access-control-allow-headers": "authorization, content-type, idempotency-key, *",
    "access-control-max-age": "600",
}


class OtherSites:
    """ASGI middleware for CORS: allows requests from these origins, "*" from any."""

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        self.app, self.origins = app, frozenset(one.rstrip("/").lower() for one in origins)

    def allows(self, origin: str) -> bool:
        return "*" in self.origins or origin.lower() in self.origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        origin = headers.get("origin", "")
        if not origin or not self.allows(origin):
            await self.app(scope, receive, send)
            return
        about = {"access-control-allow-origin": origin, "access-control-expose-headers": EXPOSED}
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            answer = Response(status_code=204, headers={**about, **PREFLIGHT, "vary": "origin"})
            await answer(scope, receive, send)
            return

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                sent.update(about)
                sent.add_vary_header("origin")
            await send(message)

        await self.app(scope, receive, marked)


PREFIX = "verax-"
MIGRATIONS = (
    """
    CREATE TABLE clients (
        name TEXT PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, budget_usd REAL, created REAL NOT NULL)
    """,
)


@dataclass(frozen=True, slots=True)
class Account:
    """A client. `budget_usd` is the most that all its paid calls may cost; None: no limit."""

    name: str
    budget_usd: float | None = None


ANYBODY = Account("local")


class ClientKeys:
    """The clients of one server."""

    def __init__(self, path: Path) -> None:
        self.connection = open_database(path, MIGRATIONS)

    def close(self) -> None:
        self.connection.close()

    def add(self, name: str, *, budget_usd: float | None = None) -> str:
        """A new client's key; it cannot be shown again."""
        if not name.replace("-", "").replace("_", "").isalnum() or len(name) > 64:
            raise InputError(f"client name {name!r}: expected letters, digits, - and _, at most 64")
        if name == ANYBODY.name:
            raise InputError(
                f"client name {name!r} is reserved for clients without a key; choose another"
            )
        if budget_usd is not None and not budget_usd >= 0:
            raise InputError(f"budget: expected US dollars, 0 or more, got {budget_usd}")
        key = PREFIX + secrets.token_urlsafe(32)
        row = (name, digest(key), budget_usd, time.time())
        if name in self.names():
            raise InputError(f"client {name!r} has a key already; remove it first")
        self.connection.execute("INSERT INTO clients VALUES (?, ?, ?, ?)", row)
        return key

    def remove(self, name: str) -> bool:
        done = self.connection.execute("DELETE FROM clients WHERE name = ?", (name,))
        return done.rowcount > 0

    def names(self) -> list[str]:
        return [r[0] for r in self.connection.execute("SELECT name FROM clients ORDER BY name")]

    def all(self) -> list[Account]:
        """Every client with its budget, by name."""
        rows = self.connection.execute("SELECT name, budget_usd FROM clients ORDER BY name")
        return [Account(name, budget) for name, budget in rows]

    def client(self, key: str) -> Account | None:
        """The client of a key; None for an unknown key."""
        query = "SELECT name, budget_usd FROM clients WHERE sha256 = ?"
        row = self.connection.execute(query, (digest(key),)).fetchone()
        return None if row is None else Account(row[0], row[1])


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
