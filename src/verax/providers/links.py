"""The picture behind a link of an answer: fetched at once, bounded, and tried again for nothing.

A link may be relative to the service, appear late, redirect, or never end. It leads into a private
network only where the service itself is in one.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx2

from verax.errors import ProviderError, SettingsError
from verax.providers.addresses import is_private
from verax.providers.lines import link_line

MOST_BYTES = 100_000_000
DEADLINE_S = 180.0
PAUSES_S = (0.5, 1.0, 2.0, 4.0)  # a picture may appear a little after its link
MOST_REDIRECTS = 5
GONE = (403, 410)  # a link that has expired; waiting does not bring it back
AGAIN = "the answer is kept; try again for nothing: verax journal fetch"


@dataclass(frozen=True, slots=True)
class Place:
    """The service whose answer holds the link.

    Attributes:
        keys: the header of its key; sent only to the service's own scheme, host and port.
        retries, sleep: how often, and the waiting between attempts.
    """

    service: httpx2.URL
    local_only: bool
    keys: Mapping[str, str]
    retries: int
    sleep: Callable[[float], None]


def fetch(link: str, place: Place) -> bytes:
    """The bytes behind a link. Raises ProviderError where they cannot be had now.

    Raises SettingsError where the link leads beyond what `local_only` allows.
    """
    url = _joined(link, place.service)
    private = is_private(place.service.host)
    with link_line(url, private=private, local_only=place.local_only) as line:
        for pause in (*PAUSES_S[: place.retries], None):
            try:
                status, data = _once(line, url, place)
            except httpx2.HTTPError as exc:
                status, data = 0, type(exc).__name__.encode()
            except SettingsError as exc:
                if place.local_only:
                    raise
                raise ProviderError(f"the picture behind a link: {exc}; {AGAIN}") from None
            if status == 200 and data:
                return data
            if pause is None or status in GONE:
                break
            place.sleep(pause)
    why = f"HTTP {status}" if status else data.decode()
    raise ProviderError(f"the picture behind a link at {url.host} did not come ({why}); {AGAIN}")


def _joined(link: str, service: httpx2.URL) -> httpx2.URL:
    """The whole address of a link; a relative one starts at the service."""
    try:
        url = httpx2.URL(f"{service}/").join(link)
    except (httpx2.InvalidURL, ValueError) as exc:
        raise ProviderError(f"the answer holds a link that is none ({exc}); {AGAIN}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ProviderError(f"the answer holds a link that is no web address; {AGAIN}")
    return url.copy_with(userinfo=b"") if url.userinfo else url


def _once(line: httpx2.Client, url: httpx2.URL, place: Place) -> tuple[int, bytes]:
    """Status and bytes of one attempt, its redirects followed."""
    keyed = False
    for _ in range(MOST_REDIRECTS + 1):
        headers = dict(place.keys) if keyed and _same(url, place.service) else {}
        with line.stream("GET", url, headers=headers) as reply:
            if reply.has_redirect_location:
                url = _joined(reply.headers["location"], url)
                continue
            if reply.status_code in (401, 403) and _same(url, place.service) and not keyed:
                keyed = True
                continue
            return reply.status_code, _bounded(reply) if reply.status_code == 200 else b""
    return 310, b""


def _same(url: httpx2.URL, service: httpx2.URL) -> bool:
    return (url.scheme, url.host, url.port) == (service.scheme, service.host, service.port)


def _bounded(reply: httpx2.Response) -> bytes:
    """The body; ProviderError where it is too large or does not end."""
    pieces, total, end = [], 0, time.monotonic() + DEADLINE_S
    for piece in reply.iter_bytes():
        total += len(piece)
        if total > MOST_BYTES or time.monotonic() > end:
            raise ProviderError(
                f"the picture behind a link is larger than {MOST_BYTES // 1_000_000} MB or does "
                f"not end; {AGAIN}"
            )
        pieces.append(piece)
    return b"".join(pieces)
