"""Parses the addresses of image services, finds their catalog entries, checks their networks."""

import ipaddress
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import httpx2

from verax.catalog import Gateway, gateway
from verax.errors import InputError, SettingsError
from verax.settings import Settings, without

PORTS = {"http": 80, "https": 443}
AZURE = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
_ENDPOINT = re.compile(
    r"/(images/(generations|edits|variations)|images|models|batches|files|responses"
    r"|(chat/)?completions|embeddings)$"
)
_DEPLOYMENT = re.compile(r"^(.*)/deployments/([^/]+)$")


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """The parts of a service's address.

    Attributes:
        url: scheme, host and path, normalised, without a query.
        api_version: value of the parameter `api-version` of Azure addresses, "" if absent.
        deployment: the deployment (the user's own name for a model) that an older Azure address
            contains, "" if absent.
    """

    url: httpx2.URL
    api_version: str = ""
    deployment: str = ""

    @property
    def is_azure(self) -> bool:
        return self.url.host.endswith(AZURE)


def parse_address(text: str) -> ServiceAddress:
    """Parse the address of a service: its base URL, the URL of one of its endpoints, such as
    .../images/edits, or an Azure target URI. The path of the endpoint is left out.

    Raises SettingsError if the text is not a URL, or has a user name, a password, a fragment, or a
    query parameter other than api-version. The message does not repeat these, since one may be a
    key. Raises InputError if the address is not http or https, or has no host or an invalid port.
    """
    url = parse_url(text)
    query = dict(parse_qsl(url.query.decode("ascii", "replace"), keep_blank_values=True))
    version = query.pop("api-version", "")
    if query or url.fragment:
        names = ", ".join(sorted(query)) or "#"
        raise SettingsError(
            f"base URL: expected no parameter except api-version in the address of {url.host}, got "
            f"{names}; remove it. If it is an API key, put it into an environment variable"
        )
    if not re.fullmatch(r"[\w.-]*", version):
        raise SettingsError(
            f"base URL: expected an api-version such as 2025-04-01-preview in the address of "
            f"{url.host}, got one with other characters; correct it"
        )
    path = _ENDPOINT.sub("", re.sub(r"/{2,}", "/", url.path).rstrip("/"))
    named = _DEPLOYMENT.match(path)
    path, deployment = (named[1], named[2]) if named else (path, "")
    return ServiceAddress(_normal_url(url, path), version, deployment)


def _normal_url(url: httpx2.URL, path: str) -> httpx2.URL:
    host = url.host.lower().rstrip(".")
    host = f"[{host}]" if ":" in host else host
    port = "" if url.port in (None, PORTS[url.scheme]) else f":{url.port}"
    return httpx2.URL(f"{url.scheme}://{host}{port}{path}")


def parse_url(text: str) -> httpx2.URL:
    """The parsed http or https address. Raises SettingsError if the text is not a URL or contains a
    user name or password, InputError if it has another scheme, no host, or an invalid port."""
    try:
        url = httpx2.URL(text.strip())
    except (httpx2.InvalidURL, ValueError) as exc:
        raise SettingsError(
            "base URL: expected an address such as http://127.0.0.1:8000/v1, got text that is not "
            f"a URL ({without(str(exc), None)}); correct it"
        ) from None
    if url.userinfo:
        raise SettingsError(
            f"base URL: the address of {url.host} contains a user name or password; remove it, "
            "and put the key into an environment variable"
        )
    if url.scheme not in PORTS or not url.host:
        raise InputError(
            "base URL: expected an address such as http://127.0.0.1:8000/v1, got "
            f"{without(text[:200], None)!r}; correct it"
        )
    if not 0 < (url.port or PORTS[url.scheme]) < 65_536:
        raise InputError(
            f"base URL: expected a port from 1 to 65535 for {url.host}, got {url.port}; correct it"
        )
    return url


def local_address(host: str) -> str:
    """The loopback IP address of this machine, which `host` must name, as "localhost" does. Raises
    SettingsError if `host` is another machine."""
    beyond = SettingsError(
        f"local-only allows connections to this machine only, and {host} is another one; nothing "
        "was sent. Use an address such as 127.0.0.1, or leave out local-only"
    )
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if host != "localhost" and not host.endswith(".localhost"):
            raise beyond from None
        addresses = {str(info[4][0]) for info in socket.getaddrinfo("localhost", None)}
        if not all(ipaddress.ip_address(one).is_loopback for one in addresses):
            raise beyond from None
        return min(addresses)  # "127.0.0.1" before "::1"
    mapped = getattr(address, "ipv4_mapped", None) or address
    if not mapped.is_loopback:
        raise beyond
    return host


def public_address(host: str) -> str:
    """The IP address of a host on the internet. Raises SettingsError if no address is found, or if
    the host is in a private network, which a link from a service on the internet must not reach."""
    try:
        addresses = [str(info[4][0]) for info in socket.getaddrinfo(host, None)]
    except OSError as exc:
        raise SettingsError(
            f"no IP address was found for {host} ({exc.strerror or exc}); check the network"
        ) from None
    if not all(map(_is_public, addresses)):
        raise SettingsError(
            f"expected a link to the internet from the service, got one to {host}, which is in a "
            "private network. If the service is your own, set --base-url to its address in that "
            "network"
        )
    return addresses[0]


def is_private(host: str) -> bool:
    """Whether the host has an IP address that is not on the internet, such as one of this machine
    or of a private network; False if no address is found."""
    try:
        addresses = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return not all(map(_is_public, addresses))


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    return (getattr(address, "ipv4_mapped", None) or address).is_global


class PinnedTransport(httpx2.BaseTransport):
    """An HTTP transport that connects only to the IP address that `resolve` returns for a host.

    `resolve` raises an error for a host that is not allowed. It runs for every request, redirects
    included, and its address is used unchanged, so a later DNS answer cannot bypass the check.
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


AZURE_PATHS = ("/openai/v1", "/openai")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A service and its address.

    Attributes:
        gateway: the service's entry in Verax's catalog of services.
        url: the normalised base URL; ends with ?api-version=... if the user's address has that.
        deployment: the name that the service (Azure) has for the model, "" to use the name in the
            catalog.
        custom: whether the user gave the address.
    """

    gateway: Gateway
    url: str
    deployment: str
    custom: bool

    def keys(self) -> tuple[str, ...]:
        """Names of the environment variables that may hold this service's key. For a service that
        the catalog lacks, OPENAI_API_KEY is among them only if the service runs on this machine."""
        names = self.gateway.keys
        if self.custom and self.gateway.name.startswith("azure"):
            names = (*names, "VERAX_API_KEY")
        try:
            local_address(urlsplit(self.url).hostname or "")
        except SettingsError:
            return names
        return (*names, "OPENAI_API_KEY") if self.gateway.name == "custom" else names


def choose_endpoint(settings: Settings) -> Endpoint:
    """The service and address that the settings name with `gateway`, `base_url` and `deployment`.

    Raises SettingsError if the three contradict each other, or if the address is missing or wrong.
    """
    if without(settings.gateway, None) != settings.gateway:
        raise SettingsError(
            "VERAX_GATEWAY or --gateway: expected the name of a service, got what looks like a "
            "key; to list the names, run: verax models --gateways"
        )
    usual = "custom" if settings.base_url else "openai"
    where = gateway(settings.gateway or usual, changes=settings.home)
    address = parse_address(
        settings.base_url or where.base_url or _from_environment(where, settings)
    )
    if address.deployment or (address.is_azure and where.name == "custom"):
        where = _azure(where, settings, older=bool(address.deployment))
    root = str(address.url).rstrip("/")
    if where.address_suffix:
        root = _azure_root(root, where.address_suffix)
    if address.deployment and settings.deployment not in ("", address.deployment):
        raise SettingsError(
            f"the service's address names the deployment {address.deployment}, but "
            f"VERAX_DEPLOYMENT names {settings.deployment}; leave one of them out"
        )
    version = f"?api-version={address.api_version}" if address.api_version else ""
    deployment = address.deployment or settings.deployment
    return Endpoint(where, root + version, deployment, bool(settings.base_url))


def _azure(where: Gateway, settings: Settings, *, older: bool) -> Gateway:
    """The catalog entry for a service whose address belongs to Azure. `where` is the entry that the
    settings name; raises SettingsError if it is of a service other than Azure. `older` says that
    the address contains the name of a deployment, as in Azure's older API."""
    if where.name not in ("custom", "azure", "azure-deployments"):
        raise SettingsError(
            f"the base URL belongs to Azure, but --gateway names {where.name}; leave out --gateway"
        )
    return gateway("azure-deployments" if older else "azure", changes=settings.home)


def _azure_root(root: str, suffix: str) -> str:
    """The address of an Azure API: the address `root`, with `suffix` as its path. The path of
    `root` may be empty, "/openai" or "/openai/v1"; with any other path, `root` is returned
    unchanged."""
    for known in AZURE_PATHS:
        if root.endswith(known):
            return root.removesuffix(known) + suffix
    return root if urlsplit(root).path else root + suffix


def _from_environment(where: Gateway, settings: Settings) -> str:
    address = settings.environ.get(where.address, "") if where.address else ""
    if not address:
        variable = f" or set {where.address}" if where.address else ""
        raise SettingsError(
            f"the address of the service {where.name} is not known; give --base-url{variable}"
        )
    return address
