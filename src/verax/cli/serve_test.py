"""verax serve-test: an image service on this machine, to try everything without key or bill.

It checks requests as the Images API does, paints something, bills into a ledger of its own, and
goes wrong on order. Verax asks it under the name `--gateway test`.
"""

import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from verax.errors import InputError, SettingsError

PORT = 8900  # where `--gateway test` looks for it


def serve_test(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = PORT,
    script: Annotated[
        str, typer.Option(help="What happens to the next calls, by commas: 429:2,billed:502,link")
    ] = "",
    ledger: Annotated[Path | None, typer.Option(help="File of what it billed.")] = None,
    fail_every: Annotated[
        int, typer.Option(help="Bill every so many-th call and answer it with 502.", min=0)
    ] = 0,
    delay: Annotated[float, typer.Option(help="Seconds before each answer.", min=0)] = 0.0,
    steps: Annotated[
        bool, typer.Option("--steps", help="Explain what --script can hold, and leave.")
    ] = False,
) -> None:
    """Play an image service on this machine: no key, no bill, nothing leaves."""
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
        raise InputError(f"--script: {exc}; verax serve-test --steps explains them") from None
    try:
        server = serve(service, port)
    except OSError as exc:
        raise SettingsError(
            f"cannot listen on 127.0.0.1:{port}: {exc.strerror}; choose another --port"
        ) from None
    print(f"http://127.0.0.1:{server.server_port}/v1", flush=True)
    tell(server.server_port, file)
    server.serve_forever()


def tell(port: int, ledger: Path) -> None:
    """The next command, for people."""
    where = "" if port == PORT else f" --base-url http://127.0.0.1:{port}/v1"
    lines = (
        "This plays an image service on this machine: no key, no bill, nothing leaves.",
        "In another terminal:",
        f"  verax restore photo.jpg --gateway test{where} --model gpt-image-2.6-flare",
        f'  verax edit photo.jpg "remove the haze" --gateway test{where}',
        f"What it would have billed is in {ledger}. Ctrl-C ends it.",
    )
    print("\n".join(lines), file=sys.stderr, flush=True)
