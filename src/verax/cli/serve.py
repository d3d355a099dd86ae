"""verax serve: the Images endpoint and the page; verax serve-key: keys for its clients."""

import socket
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

import typer

from verax.errors import SettingsError, missing_extra

if TYPE_CHECKING:
    from verax.server.keys import ClientKeys

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    host: str = typer.Option("127.0.0.1", help="Address to listen on."),
    port: int = typer.Option(8000, help="Port to listen on; 0 takes a free one."),
    workers: int = typer.Option(0, help="Restorations at a time; 0 is one per core."),
    waiting: int = typer.Option(64, help="Jobs that may wait; more are told to come back."),
    name: list[str] = typer.Option([], help="Host name that the server answers to; repeatable."),
    fetch: list[str] = typer.Option(
        [], help="Host from which pictures may be fetched by address; repeatable, none by default."
    ),
    gateway: str | None = typer.Option(None, help="Paid service behind it; see verax models."),
    base_url: str | None = typer.Option(None, "--base-url", help="Another address of it."),
    local_only: bool = typer.Option(
        False, "--local-only", help="Refuse every address beyond this machine."
    ),
) -> None:
    """Serve the OpenAI-compatible Images API and a page for people."""
    from verax.bench.engines import default_workers
    from verax.making import credentials_of

    if find_spec("uvicorn") is None or find_spec("prometheus_client") is None:
        raise missing_extra("verax serve", "serve")
    from verax.server.app import ServerOptions
    from verax.server.keys import ClientKeys
    from verax.server.limits import LOOPBACK as LOOPBACK_NAMES
    from verax.server.limits import Limits
    from verax.server.run import run
    from verax.settings import load

    settings = load()
    credentials_of(settings)  # a wrong certificate is named at the start, not with every picture
    settings = replace(
        settings,
        gateway=gateway or settings.gateway,
        base_url=base_url or settings.base_url,
        local_only=settings.local_only or local_only,
    )
    clients = ClientKeys(settings.home / "serve" / "clients.sqlite")
    guarded = bool(clients.names())
    clients.close()
    if host not in LOOPBACK and not guarded:
        raise SettingsError(
            f"--host {host}: beyond this machine every client needs a key; "
            "make one first: verax serve-key add NAME"
        )
    options = ServerOptions(
        settings,
        hosts=LOOPBACK_NAMES | {host.lower(), *(n.lower() for n in name)},
        guarded=host not in LOOPBACK,
        workers=workers or default_workers(),
        waiting=waiting,
        limits=Limits(fetch_hosts=frozenset(() if settings.local_only else map(str.lower, fetch))),
    )
    listener = listening(host, port)
    address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}/"
    print(f"page and API at {address} (base_url {address}v1)", flush=True)
    run(options, listener)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there, or an error that says who is in the way."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as exc:
        raise SettingsError(
            f"cannot listen on {host}:{port}: {exc.strerror}; choose another --port"
        ) from exc


key_app = typer.Typer(help="Keys for clients of verax serve.", no_args_is_help=True)


def _clients() -> "ClientKeys":
    from verax.server.keys import ClientKeys
    from verax.settings import load

    return ClientKeys(load().home / "serve" / "clients.sqlite")


@key_app.command()
def add(
    name: str = typer.Argument(..., help="Name of the client."),
    budget: float | None = typer.Option(None, help="US dollars that its paid calls may cost."),
) -> None:
    """Make a key and print it; it is stored as a hash and cannot be shown again."""
    print(_clients().add(name, budget_usd=budget))


@key_app.command("list")
def list_names() -> None:
    """The clients that have a key."""
    for name in _clients().names():
        print(name)


@key_app.command()
def remove(name: str = typer.Argument(..., help="Name of the client.")) -> None:
    """Take a client's key away."""
    if not _clients().remove(name):
        raise SettingsError(f"no client {name!r}; see verax serve-key list")
