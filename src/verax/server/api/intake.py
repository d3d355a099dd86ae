"""Receiving request bodies to disk, and fetching pictures by URL.

Bodies are counted here, not parsed. Pictures are fetched only from hosts that the operator has
allowed. An allowed name that resolves to a private address is refused all the same: all its
addresses must be public, and the connection goes to the checked address, which prevents DNS
rebinding. Redirects are not followed; no cookie, key or proxy is used. Raises Problem 400 if
nothing could be fetched.
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
    """A request's body on disk: the parts of a form, or JSON unchanged.

    Attributes:
        files: by role, "image" or "mask".
        body: the JSON; pictures in it are written beside it.
    """

    kind: str  # "edit" or "generation"
    values: Mapping[str, str]
    files: Mapping[str, tuple[Path, ...]]
    body: Path | None = None


async def receive_body(request: Request, kind: str, folder: Path, limits: ServerLimits) -> Upload:
    """The body of a request for pictures, in files of `folder`.

    Raises Problem 400, 413 or 415 for what cannot be used.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/json":
        body = folder / "body.json"
        await spool(request, body, limits.json_bytes)
        return Upload(kind, {}, {}, body)
    if media_type == "multipart/form-data" and kind == "edit":
        return await _from_form(request, kind, folder, limits)
    types = "application/json" + (" or multipart/form-data" if kind == "edit" else "")
    raise Problem(415, f"expected {types}, got {media_type or 'no content type'}", "media_type")


async def spool(request: Request, path: Path, most: int) -> None:
    """Write the body to a file as it arrives; it is never in memory as a whole."""
    total = 0
    with path.open("wb") as file:
        async for chunk in request.stream():
            total += len(chunk)
            if total > most:
                raise Problem(
                    413, f"expected at most {most // 1_000_000} MB of JSON; "
                    "send pictures as multipart form data",
                    "body_too_large",
                )  # fmt: skip
            file.write(chunk)


async def read_small(request: Request, most: int) -> bytes:
    """A body of at most so many bytes. Raises Problem 413 for a larger one."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise Problem(413, f"expected at most {most} bytes, got more", "body_too_large")
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
                    400, f"{known[1]}: expected a file, got text", "invalid_type", known[1]
                )
            if not isinstance(part, UploadFile):
                values[name] = part
            elif known:
                places = files.setdefault(known[1], [])
                places.append(folder / f"{known[1]}-{len(places)}")
                await keep(part, places[-1])
            else:
                raise Problem(400, f"file field {name[:60]!r} is not known", "unknown_parameter")
    return Upload(kind, values, {role: tuple(paths) for role, paths in files.items()})


async def keep(part: UploadFile, path: Path) -> None:
    """Copy an uploaded file of a form to a path."""
    await run_in_threadpool(_copy, part.file, path)


def _copy(source: IO[bytes], path: Path) -> None:
    source.seek(0)
    with path.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


MOST_BYTES = 50_000_000
DEADLINE_S = 20.0
PORTS = {"http": 80, "https": 443}
INSIDE = [ipaddress.ip_network(net) for net in ("64:ff9b::/96", "2002::/16", "::/96")]  # IPv4 in it
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]


def is_allowed(url: str, hosts: Collection[str]) -> bool:
    """Whether this address may be fetched: http or https, on a host (or host:port) of the list."""
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
    """Whether an address is public: not private, loopback, link-local or reserved."""
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        return is_public(mapped)
    hidden = address.version == 6 and any(address in net for net in INSIDE)
    return address.is_global and not address.is_multicast and not hidden


def resolve_host(name: str, port: int) -> list[str]:
    """The addresses of a name."""
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
    """Download a URL to a file; at most MOST_BYTES, within DEADLINE_S."""
    import httpx2

    from verax.providers.addresses import Pinned

    if not is_allowed(url, hosts):
        raise _refused("only pictures on hosts that this server allows are fetched")

    def checked_address(host: str) -> str:
        port = urlsplit(url).port or PORTS[urlsplit(url).scheme]
        addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in resolve(host, port)]
        if not addresses or not all(map(permitted, addresses)):
            raise _refused("the address is in a private network")
        return str(addresses[0])

    end = time.monotonic() + DEADLINE_S
    transport = Pinned(httpx2.HTTPTransport(trust_env=False), checked_address)
    headers = {"accept-encoding": "identity"}
    try:
        with (
            httpx2.Client(
                transport=transport, trust_env=False, timeout=DEADLINE_S, headers=headers
            ) as client,
            client.stream("GET", url) as reply,
        ):
            if reply.status_code != 200:
                what = "a redirect, which is not followed" if reply.is_redirect else "no picture"
                raise _refused(f"the address answered {reply.status_code}: {what}")
            _write_bounded(reply.iter_raw(), path, end)
    except (OSError, httpx2.HTTPError) as exc:
        raise _refused(
            f"no picture could be fetched from the address ({type(exc).__name__})"
        ) from exc


def _write_bounded(pieces: Iterator[bytes], path: Path, end: float) -> None:
    """Write a body to a file; raises Problem 400 if it is too large or not complete by `end`."""
    total = 0
    with path.open("wb") as file:
        for piece in pieces:
            total += len(piece)
            if total > MOST_BYTES or time.monotonic() > end:
                raise _refused("the picture at that address is too large or arrives too slowly")
            file.write(piece)


def _refused(why: str) -> Problem:
    return Problem(400, f"image_url: {why}; send the picture itself", "invalid_image_url", "images")
