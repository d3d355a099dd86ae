"""Whom to ask: the service that gateway, address and environment name together."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from verax.catalog import Gateway, gateway
from verax.errors import SettingsError
from verax.providers.addresses import local_address, understood
from verax.settings import Settings, without

AZURE_PATHS = ("/openai/v1", "/openai")


@dataclass(frozen=True, slots=True)
class Place:
    """A service and where it is.

    Attributes:
        url: base URL in one spelling, for Azure with its api-version.
        deployment: the model's own name there, "" for the catalog's.
        own: the address was given by the user.
    """

    gateway: Gateway
    url: str
    deployment: str
    own: bool

    def keys(self) -> tuple[str, ...]:
        """Names of keys: a key goes only to the service it was made for, and to this machine."""
        names = self.gateway.keys
        if self.own and self.gateway.name.startswith("azure"):
            names = (*names, "VERAX_API_KEY")
        try:
            local_address(urlsplit(self.url).hostname or "")
        except SettingsError:
            return names
        return (*names, "OPENAI_API_KEY") if self.gateway.name == "custom" else names


def choose_place(settings: Settings) -> Place:
    """Raises SettingsError for an address that does not fit what else is set."""
    if without(settings.gateway, None) != settings.gateway:
        raise SettingsError("VERAX_GATEWAY or --gateway holds what looks like a key; want a name")
    usual = "custom" if settings.base_url else "openai"
    where = gateway(settings.gateway or usual, changes=settings.home)
    address = understood(settings.base_url or where.base_url or _from_environment(where, settings))
    if address.deployment or (address.is_azure and where.name == "custom"):
        where = _azure(where, settings, older=bool(address.deployment))
    root = str(address.url).rstrip("/")
    if where.address_suffix:
        root = _azure_root(root, where.address_suffix)
    if address.deployment and settings.deployment not in ("", address.deployment):
        raise SettingsError(
            f"the address names the deployment {address.deployment}, VERAX_DEPLOYMENT "
            f"{settings.deployment}; leave one of them out"
        )
    version = f"?api-version={address.api_version}" if address.api_version else ""
    deployment = address.deployment or settings.deployment
    return Place(where, root + version, deployment, bool(settings.base_url))


def _azure(where: Gateway, settings: Settings, *, older: bool) -> Gateway:
    """The form of Azure that an address has."""
    if where.name not in ("custom", "azure", "azure-deployments"):
        raise SettingsError(
            f"the address is one of Azure's, which {where.name} is not; leave --gateway out"
        )
    return gateway("azure-deployments" if older else "azure", changes=settings.home)


def _azure_root(root: str, suffix: str) -> str:
    """The address of a resource with the path that its API lies under."""
    for known in AZURE_PATHS:
        if root.endswith(known):
            return root.removesuffix(known) + suffix
    return root if urlsplit(root).path else root + suffix


def _from_environment(where: Gateway, settings: Settings) -> str:
    address = settings.environ.get(where.address, "") if where.address else ""
    if not address:
        variable = f" or set {where.address}" if where.address else ""
        raise SettingsError(f"{where.name} has no fixed address; give --base-url{variable}")
    return address
