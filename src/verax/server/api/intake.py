"""Writes the bodies of requests to disk, and downloads the pictures that requests name by URL.

Pictures are downloaded only from hosts that the operator of the server has allowed. All addresses
of such a host must be public, and the connection goes to the checked address, which prevents DNS
rebinding. Redirects are not followed; no cookie, key or proxy is used.
"""

import ipaddress
import re
import shutil
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request

from verax.server import Problem
from verax.server.access import ServerLimits

MAX_IMAGES = 16
ROLE = re.compile(r"(image|mask)(\[\d{0,2}\])?")  # image, image[] and image[0] mean the same


@dataclass(frozen=True, slots=True)
class Upload:
    """The body of a request, written to disk.

    Attributes:
        kind: "edit" or "generation".
        values: the text fields of a form; {} for JSON.
        files: the files of a form by role, "image" or "mask"; {} for JSON.
        body: the file with the JSON body; None for a form.
    """

    kind: str
    values: Mapping[str, str]
    files: Mapping[str, tuple[Path, ...]]
    body: Path | None = None


async def receive_body(request: Request, kind: str, folder: Path, limits: ServerLimits) -> Upload:
    """Write the body of a request to files in `folder`. `kind` is "edit" or "generation".

    Raises Problem 400 for an invalid form, 413 for JSON that is too large, and 415 for a body that
    is neither JSON nor, for an edit, a form.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/json":
        body = folder / "body.json"
        await spool(request, body, limits.json_bytes)
        return Upload(kind, {}, {}, body)
    if media_type == "multipart/form-data" and kind == "edit":
        return await _from_form(request, kind, folder, limits)
    types = "application/json" + (" or multipart/form-data" if kind == "edit" else "")
    text = f"content-type: expected {types}, got {media_type or 'none'}; set this header"
    raise Problem(415, text, "media_type")


async def spool(request: Request, path: Path, most: int) -> None:
    """Write a JSON body to the file `path` while the body arrives. Raises Problem 413 if the body
    has more than `most` bytes."""
    total = 0
    with path.open("wb") as file:
        async for chunk in request.stream():
            total += len(chunk)
            if total > most:
                raise Problem(
                    413, f"expected at most {most // 1_000_000} MB of JSON, got more; "
                    "send the pictures as multipart form data",
                    "body_too_large",
                )  # fmt: skip
            file.write(chunk)


async def read_small(request: Request, most: int) -> bytes:
    """The body of a request, read into memory. Raises Problem 413 if it has more than `most`
    bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            text = f"expected a body of at most {most} bytes, got more; send a smaller one"
            raise Problem(413, text, "body_too_large")
    return bytes(body)


async def _from_form(request: Request, kind: str, folder: Path, limits: ServerLimits) -> Upload:
    values: dict[str, str] = {}
    files: dict[str, list[Path]] = {}
    form = request.form(
        max_files=MAX_IMAGES + 4, max_fields=limits.parts, max_part_size=limits.field_bytes
    )
    async with form as parts:
        for name, part in parts.multi_items():
            known = ROLE.fullmatch(name)
            if known and not isinstance(part, UploadFile):
                raise Problem(
                    400, f"{known[1]}: expected a file, got text; send a file with a file name",
                    "invalid_type", known[1],
                )  # fmt: skip
            if not isinstance(part, UploadFile):
                values[name] = part
            elif known:
                places = files.setdefault(known[1], [])
                places.append(folder / f"{known[1]}-{len(places)}")
                await keep(part, places[-1])
            else:
                text = f"{name[:60]!r}: expected text, got a file; send it as image or mask"
                raise Problem(400, text, "unknown_parameter")
    return Upload(kind, values, {role: tuple(paths) for role, paths in files.items()})


async def keep(part: UploadFile, path: Path) -> None:
    """Copy an uploaded file to the file `path`, without blocking the event loop."""
    await run_in_threadpool(_copy, part.file, path)


def _copy(source: IO[bytes], path: Path) -> None:
    source.seek(0)
    with path.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


MOST_BYTES = 50_000_000
DEADLINE_S = 20.0
PORTS = {"http": 80, "https": 443}
# IPv6 networks whose addresses hold an IPv4 address
INSIDE = [ipaddress.ip_network(net) for net in ("64:ff9b::/96", "2002::/16", "::/96")]
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]


def is_allowed(url: str, hosts: Collection[str]) -> bool:
    """Whether a URL may be downloaded: it is http or https, has no user name or password, and its
    host is one of `hosts`, as "host", or as "host:port" if the port is not the usual one."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    plain = parts.scheme in PORTS and parts.username is None and parts.password is None
    name = parts.hostname or ""
    if port not in (None, PORTS.get(parts.scheme)):
        name = f"{name}:{port}"
    return plain and name in hosts


def is_public(address: IpAddress) -> bool:
    """Whether an IP address is on the internet: not private, loopback, link-local, reserved or
    multicast, and no IPv6 address of a kind that can stand for a private IPv4 address."""
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        return is_public(mapped)
    hidden = address.version == 6 and any(address in net for net in INSIDE)
    return address.is_global and not address.is_multicast and not hidden


def resolve_host(name: str, port: int) -> list[str]:
    """The IP addresses of a host name, as texts. Raises OSError if the name is unknown."""
    places = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return [str(place[4][0]) for place in places]


def fetch(
    url: str,
    path: Path,
    hosts: Collection[str],
    *,
    resolve: Resolve = resolve_host,
    permitted: Callable[[IpAddress], bool] = is_public,
) -> None:
    """Download a picture of at most 50 MB within 20 seconds.

    Args:
        path: file to write.
        hosts: hosts from which to download, as "host" or "host:port".
        resolve: function that returns the IP addresses of (host name, port).
        permitted: whether an IP address may be connected to; must be true for all of the host.

    Raises Problem 400 if the URL is not allowed or cannot be downloaded.
    """
    import httpx2

    from verax.providers.addresses import PinnedTransport

    if not is_allowed(url, hosts):
        raise _refusal("this server does not download pictures from the host of the URL")

    def checked_address(host: str) -> str:
        port = urlsplit(url).port or PORTS[urlsplit(url).scheme]
        addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in resolve(host, port)]
        if not addresses or not all(map(permitted, addresses)):
            raise _refusal("the host of the URL must be public, but is in a private network")
        return str(addresses[0])

    end = time.monotonic() + DEADLINE_S
    transport = PinnedTransport(httpx2.HTTPTransport(trust_env=False), checked_address)
    headers = {"accept-encoding": "identity"}
    try:
        with (
            httpx2.Client(
                transport=transport, trust_env=False, timeout=DEADLINE_S, headers=headers
            ) as client,
            client.stream("GET", url) as reply,
        ):
            if reply.status_code != 200:
                what = ", a redirect, which is not followed" if reply.is_redirect else ""
                raise _refusal(f"expected status 200 from the URL, got {reply.status_code}{what}")
            _write_bounded(reply.iter_raw(), path, end)
    except (OSError, httpx2.HTTPError) as exc:
        raise _refusal(
            f"the picture could not be downloaded from the URL ({type(exc).__name__})"
        ) from exc


def _write_bounded(chunks: Iterator[bytes], path: Path, end: float) -> None:
    """Write the chunks of a download to the file `path`. Raises Problem 400 if they have more than
    50 MB, or if one arrives when `time.monotonic()` is past `end`."""
    total = 0
    with path.open("wb") as file:
        for chunk in chunks:
            total += len(chunk)
            if total > MOST_BYTES or time.monotonic() > end:
                raise _refusal(
                    "expected a picture of at most 50 MB within 20 s, but it is too large or slow"
                )
            file.write(chunk)


def _refusal(why: str) -> Problem:
    return Problem(
        400, f"image_url: {why}; send the picture as a data: URL", "invalid_image_url", "images"
    )
