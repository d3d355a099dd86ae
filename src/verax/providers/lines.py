"""The HTTP connections that Verax opens: to a service, and to where its links lead.

What the environment names (proxies, certificates) is used; what of it cannot be used is an error
that names the variable, before anything is sent.
"""

import os
import urllib.request
from pathlib import Path

import httpx2

from verax import __version__
from verax.errors import SettingsError
from verax.providers.addresses import Pinned, local_address, public_address

CONNECT_TIMEOUT_S = 15.0
LINK_SILENCE_S = 60.0
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_LIMITS = httpx2.Limits(max_keepalive_connections=0)
_HEADERS = {"user-agent": f"verax/{__version__}", "accept-encoding": "gzip, deflate"}


def service_line(url: httpx2.URL, *, timeout_s: float, local_only: bool) -> httpx2.Client:
    """Connections to a service. Raises SettingsError for surroundings that cannot work."""
    timeout = httpx2.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s))
    if not local_only:
        return _client(url, timeout)
    inner = httpx2.HTTPTransport(limits=_LIMITS, trust_env=False)
    pinned = Pinned(inner, local_address)
    return httpx2.Client(transport=pinned, trust_env=False, timeout=timeout, headers=_HEADERS)


def link_line(url: httpx2.URL, *, private: bool, local_only: bool) -> httpx2.Client:
    """Connections to where a link leads; `private` allows addresses inside of private networks."""
    timeout = httpx2.Timeout(LINK_SILENCE_S, connect=CONNECT_TIMEOUT_S)
    if local_only:
        return service_line(url, timeout_s=LINK_SILENCE_S, local_only=True)
    if private or _proxy_of(url):
        return _client(url, timeout)
    return _client(url, timeout, pinned=True)


def _client(url: httpx2.URL, timeout: httpx2.Timeout, *, pinned: bool = False) -> httpx2.Client:
    """Connections as the environment says; `pinned` ones lead to public addresses alone."""
    for trust_env in (True, False):
        try:
            inner = httpx2.HTTPTransport(limits=_LIMITS, trust_env=trust_env) if pinned else None
            return httpx2.Client(
                transport=inner and Pinned(inner, public_address),
                limits=_LIMITS,
                timeout=timeout,
                headers=_HEADERS,
                trust_env=trust_env,
            )
        except (ImportError, ValueError, OSError) as exc:
            variable = _faulty(url, exc)
            if variable or not trust_env:
                raise SettingsError(f"{variable}; nothing was sent") from None
    raise AssertionError("unreachable: the second attempt returns or raises")


def _faulty(url: httpx2.URL, exc: Exception) -> str:
    """What is wrong with the surroundings, naming the variable; "" where this address needs none
    of it."""
    if isinstance(exc, OSError):
        if url.scheme == "http":
            return ""
        names = [name for name in CERTIFICATES if not Path(os.environ.get(name, "/")).exists()]
        named = " and ".join(names) or " or ".join(CERTIFICATES)
        return f"{named} names no usable certificates ({exc.strerror or exc}); mend it or unset it"
    name = _proxy_of(url)
    if not name:
        return ""
    what = (
        "needs the package socksio (pip install socksio)"
        if isinstance(exc, ImportError)
        else "is no proxy that can be used: want http://, https:// or socks5://"
    )
    return f"{name} {what}, or unset it"


def way_to(url: httpx2.URL, error: str) -> str:
    """What the surroundings have to do with a failed connection, in words; "" for nothing."""
    if "CERTIFICATE" in error.upper():
        return "; SSL_CERT_FILE names the certificates to trust, a company's own among them"
    name = _proxy_of(url)
    return f"; the way there is the proxy that {name} names" if name else ""


def _proxy_of(url: httpx2.URL) -> str:
    """The name of the variable whose proxy would be used for an address; "" for none."""
    if urllib.request.proxy_bypass(url.host):
        return ""
    wanted = (f"{url.scheme}_proxy", "all_proxy")
    return next((name for name in os.environ if name.lower() in wanted and os.environ[name]), "")
