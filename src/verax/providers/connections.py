"""Opens HTTP connections to a service, and downloads the links in its answers.

Proxies and certificates named in the environment are used; if they cannot be used, an error names
the variable before anything is sent. A link may be relative to the service's address, redirect, or
work only after a delay; a download without end is stopped. A link may lead into a private network
only if the service is in one. A body is read as far as possible even if it is truncated or declares
a compression that it does not have.
"""

import os
import time
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx2

from verax import __version__
from verax.errors import ProviderError, SettingsError
from verax.providers.addresses import PinnedTransport, is_private, local_address, public_address

CONNECT_TIMEOUT_S = 15.0
LINK_SILENCE_S = 60.0
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_LIMITS = httpx2.Limits(max_keepalive_connections=0)
_HEADERS = {"user-agent": f"verax/{__version__}", "accept-encoding": "gzip, deflate"}


def service_client(url: httpx2.URL, *, timeout_s: float, local_only: bool) -> httpx2.Client:
    """An HTTP client for a service; with `local_only` it connects to this machine only.

    A request fails after `timeout_s` seconds without a byte from the service. Raises SettingsError
    if a proxy or certificates that an environment variable names cannot be used.
    """
    timeout = httpx2.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s))
    if not local_only:
        return _client(url, timeout)
    inner = httpx2.HTTPTransport(limits=_LIMITS, trust_env=False)
    pinned = PinnedTransport(inner, local_address)
    return httpx2.Client(transport=pinned, trust_env=False, timeout=timeout, headers=_HEADERS)


def link_client(url: httpx2.URL, *, private: bool, local_only: bool) -> httpx2.Client:
    """An HTTP client for `url`, a link in an answer. `private` allows addresses in private networks
    too; they are also allowed if a proxy is used, since the proxy then looks up the address.
    `local_only` allows this machine only, and uses no proxy."""
    timeout = httpx2.Timeout(LINK_SILENCE_S, connect=CONNECT_TIMEOUT_S)
    if local_only:
        return service_client(url, timeout_s=LINK_SILENCE_S, local_only=True)
    if private or _proxy_of(url):
        return _client(url, timeout)
    return _client(url, timeout, pinned=True)


def _client(url: httpx2.URL, timeout: httpx2.Timeout, *, pinned: bool = False) -> httpx2.Client:
    """An HTTP client that uses the proxies and certificates that environment variables name.
    `pinned` allows connections to public IP addresses only."""
    trust_env = True  # use these variables
    while True:
        try:
            inner = httpx2.HTTPTransport(limits=_LIMITS, trust_env=trust_env) if pinned else None
            return httpx2.Client(
                transport=inner and PinnedTransport(inner, public_address),
                limits=_LIMITS,
                timeout=timeout,
                headers=_HEADERS,
                trust_env=trust_env,
            )
        except (ImportError, ValueError, OSError) as exc:
            variable = _faulty(url, exc)
            if variable or not trust_env:
                other = f"no HTTP client could be made ({exc}); reinstall the package httpx2"
                raise SettingsError(f"{variable or other}; nothing was sent") from None
            trust_env = False


def _faulty(url: httpx2.URL, exc: Exception) -> str:
    """A sentence that names the environment variable whose proxy or certificates cannot be used,
    and says what to do; "" if no variable is at fault. `exc` is the error that occurred."""
    if isinstance(exc, OSError):
        if url.scheme == "http":
            return ""
        names = [name for name in CERTIFICATES if not Path(os.environ.get(name, "/")).exists()]
        named = " and ".join(names) or " or ".join(CERTIFICATES)
        return f"{named}: no certificates ({exc.strerror or exc}); correct or unset the variable"
    name = _proxy_of(url)
    if not name:
        return ""
    what = (
        "its proxy needs the package socksio; install it (pip install socksio), or"
        if isinstance(exc, ImportError)
        else "expected the address of a proxy, with http://, https:// or socks5://, got another;"
    )
    return f"{name}: {what} correct or unset the variable"


def connection_hint(url: httpx2.URL, error: str) -> str:
    """What the user should check after a connection to `url` failed with the message `error`, to be
    appended to a message; "" if nothing is known."""
    if "CERTIFICATE" in error.upper():
        return "; if the service has a certificate of your company, name it in SSL_CERT_FILE"
    name = _proxy_of(url)
    return f"; the connection goes through the proxy in the variable {name}" if name else ""


def _proxy_of(url: httpx2.URL) -> str:
    """Name of the environment variable with the proxy that is used for an address; "" if none."""
    if urllib.request.proxy_bypass(url.host):
        return ""
    names = (f"{url.scheme}_proxy", "all_proxy")
    return next((name for name in os.environ if name.lower() in names and os.environ[name]), "")


MOST_LINK_BYTES = 100_000_000
LINK_DEADLINE_S = 180.0
LINK_PAUSES_S = (0.5, 1.0, 2.0, 4.0)  # a link may begin to work shortly after the answer
MOST_REDIRECTS = 5
EXPIRED = (403, 410)  # the link has expired; a further attempt is useless
AGAIN = "the answer is stored; to try again at no cost, run: verax journal fetch"


@dataclass(frozen=True, slots=True)
class LinkOrigin:
    """The service whose answer contains a link, and how the link is downloaded.

    Attributes:
        service: the service's base URL.
        local_only: whether links may lead to this machine only.
        keys: HTTP header with the service's key, {} without a key. It is sent only to the scheme,
            host and port of `service`.
        retries: how often a failed download is repeated at most.
        sleep: waits the given number of seconds between attempts.
    """

    service: httpx2.URL
    local_only: bool
    keys: Mapping[str, str]
    retries: int
    sleep: Callable[[float], None]


def fetch_link(link: str, origin: LinkOrigin) -> bytes:
    """Download the bytes at a link in an answer. Raises ProviderError if the download fails,
    SettingsError if `origin.local_only` does not allow the link."""
    url = _join(link, origin.service)
    private = is_private(origin.service.host)
    with link_client(url, private=private, local_only=origin.local_only) as client:
        for pause in (*LINK_PAUSES_S[: origin.retries], None):
            try:
                status, data = _once(client, url, origin)
            except httpx2.HTTPError as exc:
                status, data = 0, type(exc).__name__.encode()
            except SettingsError as exc:
                if origin.local_only:
                    raise
                raise ProviderError(
                    f"a linked picture was not downloaded: {exc}; {AGAIN}"
                ) from None
            if status == 200 and data:
                return data
            if pause is None or status in EXPIRED:
                break
            origin.sleep(pause)
    why = f"HTTP {status}" if status else data.decode()
    raise ProviderError(
        f"the picture at a link to {url.host} could not be downloaded ({why}); {AGAIN}"
    )


def _join(link: str, service: httpx2.URL) -> httpx2.URL:
    """The absolute address of a link, which may be relative to the address `service`. Raises
    ProviderError if it is not an http or https address."""
    try:
        url = httpx2.URL(f"{service}/").join(link)
    except (httpx2.InvalidURL, ValueError) as exc:
        raise ProviderError(
            f"expected a link to a picture in the answer, got text that is no URL ({exc}); {AGAIN}"
        ) from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ProviderError(
            "expected a link with http:// or https:// and a host in the answer, got one with "
            f"{url.scheme}:// and the host {url.host!r}; {AGAIN}"
        )
    return url.copy_with(userinfo=b"") if url.userinfo else url


def _once(client: httpx2.Client, url: httpx2.URL, origin: LinkOrigin) -> tuple[int, bytes]:
    """The HTTP status and the body of one attempt to download `url`; the body is b"" unless the
    status is 200. Redirects are followed; after more than 5 of them the result is
    (310, b""), with a status that HTTP does not use.

    The key is sent only after the service answered 401 or 403 without it.
    """
    keyed = False
    for _ in range(MOST_REDIRECTS + 1):
        headers = dict(origin.keys) if keyed and _same(url, origin.service) else {}
        with client.stream("GET", url, headers=headers) as reply:
            if reply.has_redirect_location:
                url = _join(reply.headers["location"], url)
                continue
            if reply.status_code in (401, 403) and _same(url, origin.service) and not keyed:
                keyed = True
                continue
            return reply.status_code, _read_bounded(reply) if reply.status_code == 200 else b""
    return 310, b""


def _same(url: httpx2.URL, service: httpx2.URL) -> bool:
    return (url.scheme, url.host, url.port) == (service.scheme, service.host, service.port)


def _read_bounded(reply: httpx2.Response) -> bytes:
    """The body of a reply. Raises ProviderError if it has more than 100 MB or takes longer than
    180 s."""
    pieces, total, end = [], 0, time.monotonic() + LINK_DEADLINE_S
    for piece in reply.iter_bytes():
        total += len(piece)
        if total > MOST_LINK_BYTES or time.monotonic() > end:
            most = MOST_LINK_BYTES // 1_000_000
            raise ProviderError(
                f"a picture that the answer links to is larger than {most} MB or took longer than "
                f"{LINK_DEADLINE_S:.0f} s; {AGAIN}"
            )
        pieces.append(piece)
    return b"".join(pieces)


GZIP_HEAD = b"\x1f\x8b"


class Content:
    """Decompresses the body of one answer, chunk by chunk.

    Args:
        coding: value of the header Content-Encoding. If it is neither gzip nor deflate, or if a
            body declared as gzip is not gzip, the chunks are returned unchanged.
    """

    def __init__(self, coding: str) -> None:
        self._coding = coding.strip().lower()
        self._head = b""
        self._decoder: zlib._Decompress | None = None
        self._plain = self._coding not in ("gzip", "x-gzip", "deflate")

    def take(self, chunk: bytes) -> bytes:
        """Decompress the next chunk of the body. Returns the new bytes, perhaps none yet."""
        if self._plain:
            return chunk
        if self._decoder is None:
            self._head += chunk
            if len(self._head) < 2:
                return b""
            chunk, self._head = self._head, b""
            bits = self._window_bits(chunk)
            if bits is None:
                self._plain = True
                return chunk
            self._decoder = zlib.decompressobj(bits)
        return self._decode(chunk)

    def rest(self) -> bytes:
        """The remaining decompressed bytes, after the last chunk."""
        return self._head or (self._decoder.flush() if self._decoder else b"")

    def _window_bits(self, head: bytes) -> int | None:
        if head.startswith(GZIP_HEAD):
            return 16 + zlib.MAX_WBITS
        zlib_head = head[0] & 0x0F == 8 and (head[0] * 256 + head[1]) % 31 == 0
        if self._coding == "deflate":
            return zlib.MAX_WBITS if zlib_head else -zlib.MAX_WBITS
        return None

    def _decode(self, chunk: bytes) -> bytes:
        assert self._decoder is not None
        try:
            return self._decoder.decompress(chunk)
        except zlib.error:
            self._plain = True  # the rest is returned as received
            return b""
