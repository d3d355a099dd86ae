"""Bytes over HTTP: one address, patient where it is safe, and no second payment.

Repeated is only what was surely not billed: no connection, 408, 409, 429 and most 5xx. Once a
request was on its way, silence or a cut line is `ProviderUncertain` and goes to the caller.
Every answer travels as a stream of bytes, so that event streams keep idle proxies awake.
Connections are not kept alive: a stale one would make an unsent request look uncertain.
"""

import ipaddress
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx2

from verax import __version__
from verax.errors import (
    InputError,
    ProviderBusy,
    ProviderError,
    ProviderRejected,
    ProviderUncertain,
    SettingsError,
)
from verax.providers.dialects import Wire
from verax.providers.failures import failure, may_repeat, wait_s
from verax.settings import Secret

CONNECT_TIMEOUT_S = 15.0
MAX_BODY_BYTES = 1 << 30  # ten 4K pictures as base64 are a third of this
Hear = Callable[[bytes], None]  # takes the chunks of an answer as they come

_KEY_SHAPES = re.compile(r"\b(?:sk|lmnfl|sess)[-_][\w-]{6,}|(?i:bearer)\s+[\w.~+/-]{6,}=*")


@dataclass(frozen=True, slots=True)
class Reply:
    """A good answer: body, headers in lower case, and how often the call was repeated before."""

    body: bytes = field(repr=False)
    headers: Mapping[str, str]
    retries: int

    @property
    def is_events(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")


class LocalOnly(httpx2.BaseTransport):
    """Lets nothing out but to this machine, whatever names, redirects or DNS say.

    A name is resolved once, checked, and the checked address is the one that is connected to.
    Only the names localhost and *.localhost are looked up: a question to a name server about any
    other would leave the machine already.
    """

    def __init__(self, inner: httpx2.BaseTransport) -> None:
        self._inner = inner

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.host
        request.url = request.url.copy_with(host=local_address(host))
        request.extensions = {**request.extensions, "sni_hostname": host}
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()


def local_address(host: str) -> str:
    """The loopback address of a host; SettingsError for every host beyond this machine."""
    beyond = SettingsError(
        f"local-only: {host} is beyond this machine; nothing was sent. Use an address such as "
        "127.0.0.1, or leave local-only out"
    )
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if host != "localhost" and not host.endswith(".localhost"):
            raise beyond from None
        found = {str(info[4][0]) for info in socket.getaddrinfo("localhost", None)}
        if not all(ipaddress.ip_address(one).is_loopback for one in found):
            raise beyond from None
        return min(found)  # "127.0.0.1" before "::1"
    mapped = getattr(address, "ipv4_mapped", None) or address
    if not mapped.is_loopback:
        raise beyond
    return host


class Transport:
    """One service address with its key.

    Args:
        base_url: http(s) address that the paths are put behind.
        secret: the key, None where the service wants none.
        auth: "bearer" or "api-key".
        timeout_s: longest silence before a call counts as lost.
        retries: how often a call that was surely not billed is repeated.
        sleep, random: for waiting between repeats; arguments so that tests need not wait.
    """

    def __init__(
        self,
        base_url: str,
        secret: Secret | None = None,
        *,
        auth: str = "bearer",
        local_only: bool = False,
        timeout_s: float = 600.0,
        retries: int = 4,
        sleep: Callable[[float], None] = time.sleep,
        random: Random | None = None,
    ) -> None:
        self.base_url = checked_url(base_url)
        self._secret = secret
        self._auth = auth
        self._retries = retries
        self._sleep = sleep
        self._random = random or Random()
        limits = httpx2.Limits(max_keepalive_connections=0)
        guard: httpx2.BaseTransport | None = None
        if local_only:
            local_address(self.base_url.host)
            guard = LocalOnly(httpx2.HTTPTransport(limits=limits, trust_env=False))
        self._http = httpx2.Client(
            transport=guard,
            limits=limits,
            trust_env=not local_only,  # no proxy either
            timeout=httpx2.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s)),
            headers={"user-agent": f"verax/{__version__}"},
        )

    def __repr__(self) -> str:
        return f"Transport({str(self.base_url)!r})"

    def close(self) -> None:
        self._http.close()

    def post(self, wire: Wire, *, hear: Hear | None = None) -> Reply:
        """Send once, and again only where surely nothing was billed.

        Raises as `verax.providers.requests.Send` says.
        """
        return self._patiently(lambda: self._build_post(wire), hear=hear)

    def get(self, path: str) -> Reply:
        """A free question such as GET /models."""
        return self._free("GET", path)

    def delete(self, path: str) -> Reply:
        """Have the service delete a file; free."""
        return self._free("DELETE", path)

    def fetch(self, url: str) -> bytes:
        """The bytes behind a link of an answer; the key does not travel with it."""
        with self._translated("fetching a picture", paid=False):
            reply = self._http.get(checked_url(url), follow_redirects=True)
        if reply.status_code != 200:
            raise ProviderError(
                f"a picture that came as a link is gone (HTTP {reply.status_code}); "
                "the answer is kept"
            )
        return reply.content

    def download(self, path: str, target: Path) -> None:
        """GET into a file, however large; free."""
        with (
            self._translated(f"downloading {path}", paid=False),
            self._http.stream("GET", self._url(path), headers=self._keys()) as reply,
            target.open("wb") as file,
        ):
            if reply.status_code != 200:
                host, body = self.base_url.host, reply.read()
                clean = self.redacted
                raise failure(reply.status_code, dict(reply.headers), body, where=host, clean=clean)
            for chunk in reply.iter_bytes():
                file.write(chunk)

    def redacted(self, text: str) -> str:
        """The text without the key and without anything that looks like one."""
        if self._secret is not None:
            text = text.replace(self._secret.reveal(), "[key]")
        return _KEY_SHAPES.sub("[key]", text)

    def _free(self, method: str, path: str) -> Reply:
        return self._patiently(
            lambda: self._http.build_request(method, self._url(path), headers=self._keys()),
            paid=False,
        )

    def _patiently(
        self,
        build: Callable[[], httpx2.Request],
        *,
        hear: Hear | None = None,
        paid: bool = True,
    ) -> Reply:
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                with self._translated(self.base_url.host, paid=paid):
                    status, headers, body = self._once(build(), hear)
            except ProviderBusy:  # no connection
                if last:
                    raise
                self._sleep(wait_s({}, b"", attempt, self._random) or 0.0)
                continue
            if 200 <= status < 300:
                return Reply(body, headers, attempt)
            pause = wait_s(headers, body, attempt, self._random)
            if last or pause is None or not may_repeat(status, headers, body):
                raise failure(status, headers, body, where=self.base_url.host, clean=self.redacted)
            self._sleep(pause)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _once(
        self, request: httpx2.Request, hear: Hear | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        response = self._http.send(request, stream=True)
        try:
            chunks: list[bytes] = []
            total = 0
            for chunk in response.iter_bytes():
                total += len(chunk)
                if total > MAX_BODY_BYTES:
                    raise ProviderError(f"{request.url.host}: the answer is larger than 1 GiB")
                chunks.append(chunk)
                if hear is not None and response.is_success:
                    hear(chunk)
        finally:
            response.close()
        return response.status_code, dict(response.headers), b"".join(chunks)

    def _build_post(self, wire: Wire) -> httpx2.Request:
        url, headers = self._url(wire.path), self._keys()
        if wire.json is not None:
            return self._http.build_request("POST", url, json=dict(wire.json), headers=headers)
        data = dict(wire.form)
        files = [(name, (f.name, f.data, f.media_type)) for name, f in wire.files]
        return self._http.build_request("POST", url, data=data, files=files, headers=headers)

    def _url(self, path: str) -> httpx2.URL:
        base = str(self.base_url).rstrip("/")
        return httpx2.URL(base + path)

    def _keys(self) -> dict[str, str]:
        if self._secret is None:
            return {}
        key = self._secret.reveal()
        return {"api-key": key} if self._auth == "api-key" else {"authorization": f"Bearer {key}"}

    @contextmanager
    def _translated(self, where: str, *, paid: bool) -> Iterator[None]:
        """The one door where errors of the HTTP library become ours. Causes are not chained:
        their requests carry the key."""
        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as exc:
            why = self.redacted(str(exc)) or type(exc).__name__
            raise ProviderBusy(f"{where}: no connection ({why}); nothing was sent") from None
        except (httpx2.ProxyError, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError) as exc:
            raise ProviderRejected(
                f"{where}: {self.redacted(str(exc))}; nothing was sent"
            ) from None
        except httpx2.HTTPError as exc:
            why = f"{type(exc).__name__}: {self.redacted(str(exc))}".rstrip(": ")
            if paid:
                raise ProviderUncertain(
                    f"{where}: no whole answer came ({why}); the call may have been billed"
                ) from None
            raise ProviderError(f"{where}: {why}") from None


def checked_url(text: str) -> httpx2.URL:
    """An http(s) address without a user name or password in it."""
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL as exc:
        raise SettingsError(f"not an address: {exc}") from None
    if url.userinfo:
        raise SettingsError(
            f"the address of {url.host} holds a password; put the key in a variable"
        )
    if url.scheme not in ("http", "https") or not url.host:
        raise InputError(f"want an address such as http://127.0.0.1:8000/v1, got {text!r}")
    return url
