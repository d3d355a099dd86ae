"""Access control by host, origin and client key; limits on the size and duration of requests.

Hosts, origins and limits are checked in ASGI middleware, before any other code reads the request.
The keys of clients are generated here, shown once, and stored as hashes. A plain SHA-256 is safe
for that, since a key has 256 random bits.
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
CLOSE = {"connection": "close"}  # the server reads nothing more from this connection
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """The limits that the server sets for requests.

    Attributes:
        body_bytes: most bytes in the body of a request.
        json_bytes: most bytes in a body of JSON.
        together_bytes: most bytes in the bodies of all requests in progress.
        parts: most text fields in a form.
        field_bytes: most bytes in a text field of a form.
        pixels: most pixels of a picture.
        head_s: most seconds that a connection may wait for the complete headers of a request.
        silence_s: longest pause in seconds while a body arrives.
        body_s: most seconds until a body is complete.
        taking_s: most seconds during which a client reads nothing of its answer.
        fetch_hosts: hosts, as "host" or "host:port", from which the server may download pictures
            that a request names by their URLs.
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
    """ASGI middleware that rejects requests to unknown hosts, requests from pages of other sites,
    and bodies that are too large or arrive too slowly.

    Args:
        hosts: accepted names in the Host header.
        allows: function that says whether pages of an origin, such as "https://a.org", may send
            requests; by default none may.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: ServerLimits,
        hosts: frozenset[str],
        allows: Callable[[str], bool] = lambda origin: False,
    ) -> None:
        self.app, self.allows = app, allows
        self.limits, self.hosts = limits, hosts
        self.together = 0  # bytes in the bodies of all requests in progress
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
            await self.app(scope, self.count_body(receive, body), send)
        finally:
            self.together -= body.total

    def refusal(self, scope: Scope) -> Problem | None:
        """The error answer if a request's host, origin or length is not allowed; otherwise None."""
        headers = Headers(scope=scope)
        host = hostname(headers.get("host", ""))
        if host not in self.hosts:
            text = f"this server is not named {host[:100]!r}; its operator can add it with --name"
            return Problem(421, text, "unknown_host")
        origin = headers.get("origin")
        foreign = origin and not same_origin(origin, headers) and not self.allows(origin)
        if foreign and scope["method"] not in SAFE_METHODS:
            text = f"pages of {origin} may not send requests; the operator can allow it with --cors"
            return Problem(403, text, "cross_origin")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.limits.body_bytes:
            return self.too_large()
        return None

    def too_large(self) -> Problem:
        most = self.limits.body_bytes // 1_000_000
        text = f"expected a body of at most {most} MB, got more; send smaller pictures"
        return Problem(413, text, "body_too_large", headers=CLOSE)

    def count_body(self, receive: Receive, body: "Body") -> Receive:
        """A function that returns the same ASGI messages as `receive`, and counts their bytes in
        `body`. It raises Problem if the request's body is too large or arrives too slowly."""
        started = asyncio.get_running_loop().time()

        async def receive_bounded() -> Message:
            if body.complete:
                return await receive()
            rest_s = started + self.limits.body_s - asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(max(0.0, min(self.limits.silence_s, rest_s))):
                    message = await receive()
            except TimeoutError:
                text = "the body of the request arrived too slowly; send the request again"
                raise Problem(408, text, "timeout", headers=CLOSE) from None
            if message["type"] == "http.request":
                self.count(body, len(message.get("body", b"")))
                body.complete = not message.get("more_body", False)
                await self.one_at_a_time()
            return message

        return receive_bounded

    async def one_at_a_time(self) -> None:
        """Wait until the next chunk of this upload may be read: all uploads together read one chunk
        per cycle of the event loop, so that other requests go on."""
        await self.turn.acquire()
        asyncio.get_running_loop().call_soon(self.turn.release)

    def count(self, body: "Body", size: int) -> None:
        """Add `size` bytes to `body`. Raises Problem 413 if this makes the body too large, or 429
        if it makes the bodies of all requests in progress together too large."""
        body.total += size
        self.together += size
        if body.total > self.limits.body_bytes:
            raise self.too_large()
        if self.together > self.limits.together_bytes:
            text = "the server is receiving too many large pictures at once; try again in 10 s"
            after, kind = {"retry-after": "10", **CLOSE}, "rate_limit_error"
            raise Problem(429, text, "rate_limit_exceeded", kind=kind, headers=after)


@dataclass(slots=True)
class Body:
    """How many bytes of a request's body have arrived, and whether the body is complete."""

    total: int = 0
    complete: bool = False


def hostname(host: str) -> str:
    """The host name in a Host header, in lower case, without port and brackets; "" if invalid."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def same_origin(origin: str, headers: Headers) -> bool:
    """Whether the origin of a request is this server, according to the Host header."""
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
    """ASGI middleware for CORS: lets pages of the sites in `origins` ("*": all) send requests."""

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

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = MutableHeaders(scope=message)
                sent.update(about)
                sent.add_vary_header("origin")
            await send(message)

        await self.app(scope, receive, send_marked)


PREFIX = "verax-"
MIGRATIONS = (
    """
    CREATE TABLE clients (
        name TEXT PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, budget_usd REAL, created REAL NOT NULL)
    """,
)


@dataclass(frozen=True, slots=True)
class Account:
    """A client of the server. All its paid calls together may cost at most `budget_usd` US dollars;
    None is no limit."""

    name: str
    budget_usd: float | None = None


ANYBODY = Account("local")


class ClientKeys:
    """The clients of one server and the hashes of their keys, in an SQLite file."""

    def __init__(self, path: Path) -> None:
        self.connection = open_database(path, MIGRATIONS)

    def close(self) -> None:
        self.connection.close()

    def add(self, name: str, *, budget_usd: float | None = None) -> str:
        """Add a client. Returns the client's key, of which only a hash is stored. Raises InputError
        if the name exists, or if the name or the budget is not valid."""
        if not name.replace("-", "").replace("_", "").isalnum() or len(name) > 64:
            raise InputError(
                f"client name: expected 1 to 64 letters, digits, - and _, got {name!r}; correct it"
            )
        if name == ANYBODY.name:
            raise InputError(
                f"client name {name!r} is reserved for clients without a key; choose another name"
            )
        if budget_usd is not None and not budget_usd >= 0:
            raise InputError(f"budget: expected 0 or more US dollars, got {budget_usd}; correct it")
        key = PREFIX + secrets.token_urlsafe(32)
        row = (name, digest(key), budget_usd, time.time())
        if name in self.names():
            raise InputError(
                f"client {name!r} exists already; remove it first, or choose another name"
            )
        self.connection.execute("INSERT INTO clients VALUES (?, ?, ?, ?)", row)
        return key

    def remove(self, name: str) -> bool:
        """Delete a client and its key. Returns whether the client existed."""
        done = self.connection.execute("DELETE FROM clients WHERE name = ?", (name,))
        return done.rowcount > 0

    def names(self) -> list[str]:
        return [r[0] for r in self.connection.execute("SELECT name FROM clients ORDER BY name")]

    def all(self) -> list[Account]:
        """All clients, sorted by name."""
        rows = self.connection.execute("SELECT name, budget_usd FROM clients ORDER BY name")
        return [Account(name, budget) for name, budget in rows]

    def client(self, key: str) -> Account | None:
        """The client with this key; None if no client has it."""
        query = "SELECT name, budget_usd FROM clients WHERE sha256 = ?"
        row = self.connection.execute(query, (digest(key),)).fetchone()
        return None if row is None else Account(row[0], row[1])


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
