"""Addresses of services: one spelling for each, what a full address says, and whom it leads to."""

import ipaddress
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl

import httpx2

from verax.errors import InputError, SettingsError
from verax.settings import without

PORTS = {"http": 80, "https": 443}
AZURE = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
_ENDPOINT = re.compile(
    r"/(images/(generations|edits|variations)|images|models|batches|files|responses"
    r"|(chat/)?completions|embeddings)$"
)
_DEPLOYMENT = re.compile(r"^(.*)/deployments/([^/]+)$")


@dataclass(frozen=True, slots=True)
class Address:
    """What the address of a service says.

    Attributes:
        url: scheme, host and path in one spelling, without a query.
        api_version: of Azure, "" without one.
        deployment: of Azure's older form, "" without one.
    """

    url: httpx2.URL
    api_version: str = ""
    deployment: str = ""

    @property
    def is_azure(self) -> bool:
        return self.url.host.endswith(AZURE)


def understood(text: str) -> Address:
    """A base URL, a full endpoint or an Azure target URI as the service's one address.

    Raises SettingsError for a query or a part that is not understood; values are not repeated.
    """
    url = checked_url(text)
    query = dict(parse_qsl(url.query.decode("ascii", "replace"), keep_blank_values=True))
    version = query.pop("api-version", "")
    if query or url.fragment:
        names = ", ".join(sorted(query)) or "#"
        raise SettingsError(
            f"the address of {url.host} carries {names}; leave that out. A key goes into a variable"
        )
    if not re.fullmatch(r"[\w.-]*", version):
        raise SettingsError(f"the api-version in the address of {url.host} is none")
    path = _ENDPOINT.sub("", re.sub(r"/{2,}", "/", url.path).rstrip("/"))
    named = _DEPLOYMENT.match(path)
    path, deployment = (named[1], named[2]) if named else (path, "")
    return Address(_spelled(url, path), version, deployment)


def _spelled(url: httpx2.URL, path: str) -> httpx2.URL:
    host = url.host.lower().rstrip(".")
    host = f"[{host}]" if ":" in host else host
    port = "" if url.port in (None, PORTS[url.scheme]) else f":{url.port}"
    return httpx2.URL(f"{url.scheme}://{host}{port}{path}")


def checked_url(text: str) -> httpx2.URL:
    """An http(s) address without a user name or password in it."""
    try:
        url = httpx2.URL(text.strip())
    except (httpx2.InvalidURL, ValueError) as exc:
        raise SettingsError(f"base URL: not an address: {without(str(exc), None)}") from None
    if url.userinfo:
        raise SettingsError(
            f"the address of {url.host} holds a password; put the key in a variable"
        )
    if url.scheme not in PORTS or not url.host:
        raise InputError(
            "base URL: want an address such as http://127.0.0.1:8000/v1, got "
            f"{without(text[:200], None)!r}"
        )
    if not 0 < (url.port or PORTS[url.scheme]) < 65_536:
        raise InputError(f"base URL: the port of {url.host} is none: {url.port}")
    return url


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


def public_address(host: str) -> str:
    """An address of a host that is open to everybody; SettingsError for one in a private network.

    A service on the internet must not be able to make Verax look around where it runs.
    """
    try:
        found = [str(info[4][0]) for info in socket.getaddrinfo(host, None)]
    except OSError as exc:
        raise SettingsError(f"{host} is not known ({exc.strerror or exc})") from None
    if not all(map(_is_public, found)):
        raise SettingsError(f"{host} leads into a private network, and the service does not")
    return found[0]


def is_private(host: str) -> bool:
    """Whether a host is known not to be on the internet."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return not all(map(_is_public, found))


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    return (getattr(address, "ipv4_mapped", None) or address).is_global


class Pinned(httpx2.BaseTransport):
    """Connects only where `resolve` allows, whatever names, redirects or DNS say.

    A name is resolved once, checked, and the checked address is the one that is connected to.
    """

    def __init__(self, inner: httpx2.BaseTransport, resolve: Callable[[str], str]) -> None:
        self._inner, self._resolve = inner, resolve

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.host
        request.url = request.url.copy_with(host=self._resolve(host))
        request.extensions = {**request.extensions, "sni_hostname": host}
        return self._inner.handle_request(request)

    def close(self) -> None:
        self._inner.close()
