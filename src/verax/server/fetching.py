"""Pictures by address, from the hosts that whoever runs the server has named, and from no other.

A name that leads to a private address is refused even when it was allowed: every address it has
must be public, and the line goes to the very address that was looked at, so that a second answer of
the name service (DNS rebinding) changes nothing. Redirects are not followed, no cookie, key or
proxy is used. Raises Problem 400 for everything that does not end in bytes.
"""

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from verax.server.replies import Problem

MOST_BYTES = 50_000_000
DEADLINE_S = 20.0
PORTS = {"http": 80, "https": 443}
INSIDE = [ipaddress.ip_network(net) for net in ("64:ff9b::/96", "2002::/16", "::/96")]  # IPv4 in it
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]


def wanted(url: str, hosts: Collection[str]) -> bool:
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


def public(address: Address) -> bool:
    """Whether an address is nobody's own: not private, loopback, link-local, reserved."""
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        return public(mapped)
    hidden = address.version == 6 and any(address in net for net in INSIDE)
    return address.is_global and not address.is_multicast and not hidden


def resolved(name: str, port: int) -> list[str]:
    """The addresses of a name."""
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return [str(place[4][0]) for place in found]


def fetch(
    url: str,
    path: Path,
    hosts: Collection[str],
    *,
    resolve: Resolve = resolved,
    permitted: Callable[[Address], bool] = public,
) -> None:
    """Write what is at an address to a file; at most MOST_BYTES, within DEADLINE_S."""
    if not wanted(url, hosts):
        raise _refused("only pictures on hosts that this server was told of are fetched")
    parts = urlsplit(url)
    end = time.monotonic() + DEADLINE_S
    try:
        line = _line(parts, _address(parts, resolve, permitted))
        try:
            _take(line, parts, path, end)
        finally:
            line.close()
    except (OSError, http.client.HTTPException) as exc:
        raise _refused(f"the address gave no picture ({type(exc).__name__})") from exc


def _address(parts: SplitResult, resolve: Resolve, permitted: Callable[[Address], bool]) -> str:
    name, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    found = [ipaddress.ip_address(text.partition("%")[0]) for text in resolve(name, port)]
    if not found or not all(map(permitted, found)):
        raise _refused("the address leads into a private network")
    return str(found[0])


def _line(parts: SplitResult, address: str) -> http.client.HTTPConnection:
    """A connection to exactly this address, under the name of the host."""
    name, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    raw: Any = socket.create_connection((address, port), timeout=DEADLINE_S)
    if parts.scheme == "https":
        raw = ssl.create_default_context().wrap_socket(raw, server_hostname=name)
    line = http.client.HTTPConnection(name, port)
    line.sock = raw
    return line


def _take(line: http.client.HTTPConnection, parts: SplitResult, path: Path, end: float) -> None:
    target = parts.path or "/"
    line.request("GET", f"{target}?{parts.query}" if parts.query else target)
    with line.getresponse() as answer:
        if answer.status != 200:
            moved = 300 <= answer.status < 400
            what = "a redirect, which is not followed" if moved else "no picture"
            raise _refused(f"the address answered {answer.status}: {what}")
        total = 0
        with path.open("wb") as file:
            while piece := answer.read1(1 << 16):
                total += len(piece)
                if total > MOST_BYTES or time.monotonic() > end:
                    raise _refused("the picture there is too large or comes too slowly")
                file.write(piece)


def _refused(why: str) -> Problem:
    return Problem(400, f"image_url: {why}; send the picture itself", "invalid_image_url", "images")
