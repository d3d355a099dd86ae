"""The pytest fixture `service`: the test service on a free port, in threads of this process."""

import contextlib
import threading
from dataclasses import dataclass

import pytest

from verax.testservice.server import Server, serve
from verax.testservice.state import ServiceState


@dataclass
class Service:
    """A running test service.

    Attributes:
        base_url: to be given to a client, ends in /v1.
        state: requests seen, files, batches, most_under_way, delay_s (may be set).
    """

    base_url: str
    state: ServiceState
    server: Server

    def script(self, steps: list[str]) -> None:
        """What happens to the next requests for pictures; see `verax.testservice.state`."""
        self.state.set_script(steps)

    def ledger(self) -> list[dict]:
        """Every billed call: usd, usage, model, files (hashes), step."""
        return self.state.ledger.entries()

    def bill_usd(self) -> float:
        return self.state.ledger.total_usd()

    def requests(self) -> list[dict]:
        """What came in, without keys: endpoint, fields, files (name, hash), headers."""
        return list(self.state.requests)


@contextlib.contextmanager
def running_service(folder):
    """The test service while the block runs; its ledger lies in `folder`."""
    state = ServiceState(folder / "ledger.jsonl")
    server = serve(state)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Service(f"http://127.0.0.1:{server.server_port}/v1", state, server)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def service(tmp_path_factory):
    with running_service(tmp_path_factory.mktemp("service")) as running:
        yield running
