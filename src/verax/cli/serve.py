"""The commands `verax serve` (Images API and page), `serve-key` (client keys) and `serve-test`."""

import re
import socket
import sys
import tempfile
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verax.errors import InputError, SettingsError, missing_extra

if TYPE_CHECKING:
    from verax.server.access import ClientKeys
    from verax.settings import Settings
    from verax.store import Presence

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    host: str = typer.Option("127.0.0.1", help="Address to listen on."),
    port: int = typer.Option(8000, help="Port to listen on; 0 takes a free one."),
    workers: int = typer.Option(0, help="Photos to restore at a time; 0: one per core."),
    waiting: int = typer.Option(64, help="Photos that may wait; further ones get status 429."),
    name: list[str] = typer.Option([], help="Further host name of the server; repeatable."),
    fetch: list[str] = typer.Option(
        [], help="Host from which pictures named by URL may be downloaded; repeatable."
    ),
    gateway: str | None = typer.Option(None, help="Image service that the server may call."),
    base_url: str | None = typer.Option(None, "--base-url", help="Address of that service."),
    local_only: bool = typer.Option(
        False, "--local-only", help="Refuse every address beyond this machine."
    ),
    cors: list[str] = typer.Option(
        [], help="Origin such as https://app.example whose pages may send requests; repeatable."
    ),
    root_path: str = typer.Option("", help="URL path of the page, such as /verax."),
) -> None:
    """Start a server with a web page to restore photos, and an Images API like that of OpenAI."""
    from verax.bench.engines import default_workers

    need_server()
    from verax.server.access import ServerLimits
    from verax.server.app import ServerOptions
    from verax.server.run import run

    settings = server_settings(gateway, base_url, local_only=local_only)
    guarded = has_clients(settings)
    check_front(cors, root_path, guarded=guarded)
    check_host(host, guarded=guarded)
    options = ServerOptions(
        settings,
        hosts=frozenset({*LOOPBACK, host.lower(), *map(str.lower, name)}),
        guarded=host not in LOOPBACK,
        workers=workers or default_workers(),
        waiting=waiting,
        limits=ServerLimits(
            fetch_hosts=frozenset(() if settings.local_only else map(str.lower, fetch))
        ),
        path=root_path.rstrip("/"),
        origins=frozenset(cors),
    )
    with closing(only_server(settings.home / "serve")):
        listener = listening(host, port)
        address = address_of(host, listener, root_path)
        print(f"page and API at {address} (base_url {address}v1)", flush=True)
        run(options, listener)


def server_settings(gateway: str | None, base_url: str | None, *, local_only: bool) -> "Settings":
    """The settings, overridden by the options. Raises SettingsError if the settings name a
    certificate or a key for signing that cannot be used."""
    from verax.making import credentials_of
    from verax.settings import load

    settings = load()
    credentials_of(settings)
    return replace(
        settings,
        gateway=gateway or settings.gateway,
        base_url=base_url or settings.base_url,
        local_only=settings.local_only or local_only,
    )


def has_clients(settings: "Settings") -> bool:
    """Whether at least one client has a key for the server."""
    from verax.server.access import ClientKeys

    with closing(ClientKeys(settings.home / "serve" / "clients.sqlite")) as clients:
        return bool(clients.names())


def check_host(host: str, *, guarded: bool) -> None:
    """Raises SettingsError if other machines reach `host`, unless clients have keys (`guarded`)."""
    if host not in LOOPBACK and not guarded:
        raise SettingsError(
            f"--host {host}: other machines can reach this address, so every client needs a key; "
            "make one first: verax serve-key add NAME"
        )


def address_of(host: str, listener: socket.socket, root_path: str) -> str:
    """The URL of the page, which ends in a slash; `listener`, the server's socket, has the port."""
    name = f"[{host}]" if ":" in host else host
    path = root_path.strip("/")
    return f"http://{name}:{listener.getsockname()[1]}/" + (f"{path}/" if path else "")


def check_front(cors: list[str], root_path: str, *, guarded: bool) -> None:
    """Raises InputError for a malformed --cors or --root-path, SettingsError for --cors '*' unless
    clients have keys (`guarded`)."""
    wrong = [one for one in cors if one != "*" and not re.fullmatch(r"https?://[^/\s]+/?", one)]
    if wrong:
        raise InputError(
            f"--cors: expected an origin such as https://app.example, got {wrong[0]!r}; "
            "give only scheme and host"
        )
    if "*" in cors and not guarded:
        raise SettingsError(
            "--cors '*' lets every web page make paid calls; make keys first: verax serve-key add "
            "NAME"
        )
    if root_path and not re.fullmatch(r"(/[\w.~-]+)+/?", root_path):
        raise InputError(
            f"--root-path: expected a path such as /verax, got {root_path!r}; begin "
            "with a slash and use only letters, digits, slashes and . _ ~ -"
        )


def only_server(folder: Path) -> "Presence":
    """Lock the server's folder until the result is closed. Raises SettingsError if it is locked."""
    from verax.store import Presence

    mine = Presence(folder / "running")
    others = [one.name for one in (folder / "running").glob("[!.]*") if one.name != mine.name]
    if any(Presence.is_alive(folder / "running", name) for name in others):
        mine.close()
        raise SettingsError(
            f"another verax serve uses the home folder {folder.parent}; stop it, or give this "
            "server another one: VERAX_HOME=FOLDER verax serve"
        )
    Presence.sweep(folder / "running")
    return mine


def need_server() -> None:
    """Raises MissingExtraError if the packages of the server are not installed."""
    if any(
        find_spec(name) is None
        for name in ("starlette", "uvicorn", "prometheus_client", "pydantic")
    ):
        raise missing_extra("verax serve", "serve")


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens on `port` (0: a free one). Raises SettingsError if that fails."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as exc:
        raise SettingsError(
            f"cannot listen on {host}:{port}: {exc.strerror}; choose another --port or --host"
        ) from exc


key_app = typer.Typer(
    name="serve-key",
    help="Make, list and remove keys for clients of verax serve.",
    no_args_is_help=True,
)


@key_app.callback()
def keys() -> None:
    """Make, list and remove keys for clients of verax serve."""
    need_server()


def _clients() -> "ClientKeys":
    from verax.server.access import ClientKeys
    from verax.settings import load

    return ClientKeys(load().home / "serve" / "clients.sqlite")


@key_app.command()
def add(
    name: str = typer.Argument(..., help="Name of the client."),
    budget: float | None = typer.Option(
        None, help="US dollars that all its paid calls may cost; default: no limit."
    ),
) -> None:
    """Make a key for a client and print it. Only its hash is stored: it cannot be shown again."""
    print(_clients().add(name, budget_usd=budget))


@key_app.command("list")
def list_names() -> None:
    """List the clients that have a key, their budgets, and what their paid calls have cost."""
    from verax.providers.records import Records
    from verax.server.api.upstream import RUN
    from verax.settings import load

    path = load().home / "journal" / "journal.sqlite"
    records = Records(path) if path.is_file() else None
    print(f"{'client':24}{'budget':>12}{'billed':>12}{'possibly':>12}")
    for client in _clients().all():
        spent = records.cost(RUN + client.name) if records else None
        budget = "none" if client.budget_usd is None else f"${client.budget_usd:.2f}"
        billed, possibly = (
            (spent.billed_usd, spent.most_usd - spent.billed_usd) if spent else (0, 0)
        )
        print(f"{client.name:24}{budget:>12}{f'${billed:.4f}':>12}{f'${possibly:.4f}':>12}")
    if records:
        records.close()


@key_app.command()
def remove(name: str = typer.Argument(..., help="Name of the client.")) -> None:
    """Remove a client's key."""
    if not _clients().remove(name):
        raise SettingsError(
            f"no client {name!r} has a key; verax serve-key list shows those that do"
        )


PORT = 8900  # to which `--gateway test` connects


def serve_test(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = PORT,
    script: Annotated[
        str,
        typer.Option(help="Answers to the next calls, such as 429:2,billed:502; see --steps."),
    ] = "",
    ledger: Annotated[Path | None, typer.Option(help="File for the simulated bills.")] = None,
    fail_every: Annotated[
        int, typer.Option(help="Bill every N-th call, but answer it with 502; 0: never.", min=0)
    ] = 0,
    delay: Annotated[float, typer.Option(help="Seconds to wait before an answer.", min=0)] = 0.0,
    steps: Annotated[
        bool, typer.Option("--steps", help="Explain what --script accepts, and exit.")
    ] = False,
) -> None:
    """Simulate an image service on this machine: without a key, without costs, offline."""
    from verax.testservice import state
    from verax.testservice.server import serve
    from verax.testservice.state import ServiceState

    if steps:
        print(state.__doc__)
        return
    file = ledger or Path(tempfile.mkdtemp(prefix="verax-test-service-")) / "ledger.jsonl"
    today = datetime.now(UTC).date().isoformat()
    service = ServiceState(file, delay_s=delay, today=today, keyed=False, fail_every=fail_every)
    try:
        service.set_script([step for step in script.split(",") if step])
    except ValueError as exc:
        raise InputError(f"--script: {exc}; verax serve-test --steps explains all steps") from None
    try:
        server = serve(service, port)
    except OSError as exc:
        raise SettingsError(
            f"cannot listen on 127.0.0.1:{port}: {exc.strerror}; choose another --port"
        ) from None
    print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
    tell_next(server.server_port, file)
    server.serve_forever()


def tell_next(port: int, ledger: Path) -> None:
    """Print commands that use the simulated service at `port`, and `ledger`, its file of bills."""
    where = "" if port == PORT else f" --base-url http://127.0.0.1:{port}/v1"
    lines = (
        "This simulates an image service on this machine: no key, no bill, nothing leaves it.",
        "In another terminal:",
        f"  verax restore photo.jpg --gateway test{where} --model gpt-image-2.6-flare",
        f'  verax edit photo.jpg "remove the haze" --gateway test{where}',
        f"What the calls would have cost is written to {ledger}. Ctrl-C stops the service.",
    )
    print("\n".join(lines), file=sys.stderr, flush=True)
