"""Sends HTTP requests to one service, and repeats them only if nothing can be paid twice.

A paid request is repeated only if the service certainly did not start it: after a failed connection
and after 429 or 425. A free request is repeated after 5xx too. If a paid request was sent, then a
timeout, a lost connection or a 5xx raises `ProviderUncertain`, with the bytes received so far.
Connections are not reused: on one that the service has closed meanwhile, a request would seem to be
sent although it was not.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import httpx2

from verax.errors import (
    ProviderBusy,
    ProviderError,
    ProviderRejected,
    ProviderUncertain,
)
from verax.providers.addresses import local_address, parse_address
from verax.providers.connections import (
    Content,
    LinkOrigin,
    connection_hint,
    fetch_link,
    service_client,
)
from verax.providers.dialects import Wire
from verax.providers.failures import failure, may_repeat, wait_s
from verax.settings import Secret, without, without_parts

LEAST_KEY = 16  # characters; a shorter key is a placeholder such as "any"
LONGEST_WORDS = 4_000  # bytes between two quotation marks; longer texts are pictures
MAX_BODY_BYTES = 1 << 30  # ten 4K pictures as base64 need a third of this
Hear = Callable[[bytes], None]  # receives the chunks of an answer
_PAGE = re.compile(rb"\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body)\b", re.I | re.S)


@dataclass(frozen=True, slots=True)
class HttpReply:
    """The HTTP answer to a successful request.

    Attributes:
        headers: the HTTP headers, with names in lower case.
        retries: how many earlier attempts to send the request failed.
    """

    body: bytes = field(repr=False)
    headers: Mapping[str, str]
    retries: int


class Transport:
    """An HTTP client for one service.

    Args:
        base_url: http(s) address of the service, to which the paths of requests are appended.
        secret: the key, None if the service needs none.
        auth: how the key is sent: "bearer" (header `authorization: Bearer KEY`) or "api-key"
            (header `api-key: KEY`).
        local_only: whether to connect to this machine only.
        timeout_s: after this many seconds without a byte from the service, a request fails.
        retries: how often a failed request is repeated at most.
        sleep: waits the given number of seconds between attempts.
        random: makes these waits differ a little; None makes a new generator.
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
        address = parse_address(base_url)
        self.base_url, self._api_version = address.url, address.api_version
        self.local_only = local_only
        self._secret = secret
        self._auth = auth
        self._retries = retries
        self.sleep = sleep
        self._random = random or Random()
        if local_only:
            local_address(self.base_url.host)
        self._http = service_client(self.base_url, timeout_s=timeout_s, local_only=local_only)

    def __repr__(self) -> str:
        return f"Transport({str(self.base_url)!r})"

    def close(self) -> None:
        self._http.close()

    def post(self, wire: Wire, *, hear: Hear | None = None, paid: bool = True) -> HttpReply:
        """Send the POST request `wire`. The function `hear`, if there is one, receives the chunks
        of a successful answer. `paid` is False for requests that cost nothing.

        Raises ProviderRejected or ProviderBusy if the service did not start the request,
        ProviderRefused if moderation refused it, and ProviderUncertain if it may have been billed.
        """
        return self._patiently(lambda: self._build_post(wire), hear=hear, paid=paid)

    def get(self, path: str) -> HttpReply:
        """Send a GET request that costs nothing. `path` follows the base URL, such as /models."""
        return self._free("GET", path)

    def delete(self, path: str) -> HttpReply:
        """Send a DELETE request, which costs nothing. `path` follows the base URL."""
        return self._free("DELETE", path)

    def fetch(self, link: str) -> bytes:
        """The bytes at a link in an answer, after several attempts if needed. Raises ProviderError
        if they cannot be downloaded.

        The key is sent only if the link leads to the service's own address and needs a key.
        """
        origin = LinkOrigin(self.base_url, self.local_only, self.keys(), self._retries, self.sleep)
        return fetch_link(link, origin)

    def download(self, path: str, target: Path) -> None:
        """Download a file of any size from the service into the file `target`; costs nothing.
        `path` follows the base URL. Raises a ProviderError if the download fails."""
        with (
            self._translate_errors(f"downloading {path}", paid=False),
            self._http.stream("GET", self._url(path), headers=self.keys()) as reply,
            target.open("wb") as file,
        ):
            if reply.status_code != 200:
                host, body = self.base_url.host, reply.read()
                clean = self.redact
                raise failure(reply.status_code, dict(reply.headers), body, where=host, clean=clean)
            for chunk in reply.iter_bytes():
                file.write(chunk)

    def redact(self, text: str) -> str:
        """The text without the key, parts of the key, and anything that looks like a key."""
        return without(text, self._secret)

    def scrub(self, body: bytes) -> bytes:
        """The body of an answer without the key, in case the service sends the key back."""
        key = self._secret.reveal().encode() if self._secret is not None else b""
        if len(key) < LEAST_KEY:  # base64 may contain so short a text by chance
            return body
        pieces = body.replace(key, b"[key]").split(b'"')
        return b'"'.join(one if len(one) > LONGEST_WORDS else _without(one, key) for one in pieces)

    def _free(self, method: str, path: str) -> HttpReply:
        return self._patiently(
            lambda: self._http.build_request(method, self._url(path), headers=self.keys()),
            paid=False,
        )

    def _patiently(
        self,
        build: Callable[[], httpx2.Request],
        *,
        hear: Hear | None = None,
        paid: bool = True,
    ) -> HttpReply:
        attempt = -1
        while True:
            attempt += 1
            last = attempt >= self._retries
            pieces: list[bytes] = []
            try:
                with self._translate_errors(self.base_url.host, paid=paid):
                    status, headers = self._once(build(), hear, pieces)
            except ProviderBusy:  # no connection
                if last:
                    raise
                self.sleep(wait_s({}, b"", attempt, self._random) or 0.0)
                continue
            except ProviderUncertain as exc:
                exc.partial = self.scrub(b"".join(pieces))
                raise
            body = b"".join(pieces)
            if 200 <= status < 300:
                self._check_no_page(body)
                return HttpReply(self.scrub(body), headers, attempt)
            pause = wait_s(headers, body, attempt, self._random)
            if last or pause is None or not may_repeat(status, headers, body, paid=paid):
                where, clean = self.base_url.host, self.redact
                raise failure(status, headers, body, where=where, clean=clean, paid=paid)
            self.sleep(pause)

    def _once(
        self, request: httpx2.Request, hear: Hear | None, pieces: list[bytes]
    ) -> tuple[int, Mapping[str, str]]:
        """Send the request once, and return status and headers. The chunks of the body are appended
        to `pieces`; if the connection is lost, `pieces` has what arrived before. `hear` receives
        these chunks too if the answer is successful."""
        response = self._http.send(request, stream=True)
        content, total = Content(response.headers.get("content-encoding", "")), 0
        try:
            for chunk in response.iter_raw():
                piece = content.take(chunk)
                total += len(piece)
                if total > MAX_BODY_BYTES:
                    raise ProviderError(
                        f"{request.url.host}: expected at most 1 GiB in the answer, got more; "
                        "request fewer or smaller pictures"
                    )
                pieces.append(piece)
                if hear is not None and response.is_success:
                    hear(piece)
            pieces.append(content.rest())
        finally:
            response.close()
        return response.status_code, self._headers(response)

    def _headers(self, response: httpx2.Response) -> Mapping[str, str]:
        """The headers of an answer, with the key removed from the request id."""
        headers = dict(response.headers)
        headers["x-request-id"] = self.redact(headers.get("x-request-id", ""))[:200]
        return headers

    def _check_no_page(self, body: bytes) -> None:
        """Raise ProviderRejected if the body is a web page, since no image service sends one."""
        if not _PAGE.match(body[:4096].removeprefix(b"\xef\xbb\xbf")):
            return
        base = str(self.base_url)
        hint = f"try {base}/v1" if not base.endswith("/v1") else "check the address"
        raise ProviderRejected(
            f"expected an image service at {base}, got a web page; nothing was billed. "
            f"The base URL is wrong: {hint}"
        )

    def _build_post(self, wire: Wire) -> httpx2.Request:
        url, headers = self._url(wire.path), self.keys()
        if wire.json is not None:
            return self._http.build_request("POST", url, json=dict(wire.json), headers=headers)
        data = dict(wire.form)
        files = [(name, (f.name, f.data, f.media_type)) for name, f in wire.files]
        return self._http.build_request("POST", url, data=data, files=files, headers=headers)

    def _url(self, path: str) -> httpx2.URL:
        url = httpx2.URL(str(self.base_url).rstrip("/") + path)
        version = {"api-version": self._api_version} if self._api_version else {}
        return url.copy_merge_params(version) if version else url

    def keys(self) -> dict[str, str]:
        """The HTTP header with the key; {} without a key."""
        if self._secret is None:
            return {}
        key = self._secret.reveal()
        return {"api-key": key} if self._auth == "api-key" else {"authorization": f"Bearer {key}"}

    @contextmanager
    def _translate_errors(self, where: str, *, paid: bool) -> Iterator[None]:
        """Run a `with` block that sends a request; turn errors of the HTTP library into errors of
        Verax. The original error is not kept as their cause, since it contains the key. `where`
        names the service in messages; `paid` says whether the request may be billed."""
        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as exc:
            why = self.redact(str(exc)) or type(exc).__name__
            why += connection_hint(self.base_url, why)
            raise ProviderBusy(
                f"{where}: no connection ({why}); nothing was sent; check the address and the "
                "network, or try again later"
            ) from None
        except (httpx2.ProxyError, httpx2.UnsupportedProtocol, httpx2.LocalProtocolError) as exc:
            why = self.redact(str(exc)) + connection_hint(self.base_url, "")
            raise ProviderRejected(
                f"{where}: {why}; nothing was sent; check the base URL and the proxy"
            ) from None
        except httpx2.HTTPError as exc:
            why = f"{type(exc).__name__}: {self.redact(str(exc))}".rstrip(": ")
            if paid:
                raise ProviderUncertain(
                    f"{where}: no complete answer arrived ({why}); the call may have been billed; "
                    "before you repeat it, check the calls in your account at the service"
                ) from None
            raise ProviderError(f"{where}: no complete answer arrived ({why}); try again") from None


def _without(words: bytes, key: bytes) -> bytes:
    """The text `words`, in which every piece of the key with eight or more characters is
    replaced."""
    text = words.decode("utf-8", "surrogateescape")
    return without_parts(text, key.decode()).encode("utf-8", "surrogateescape")
