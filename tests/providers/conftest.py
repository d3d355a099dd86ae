"""A client of the test service."""

from functools import partial

import pytest
from asking import KEY, TODAY

from verax.providers.images_api import connect
from verax.providers.transport import Transport
from verax.settings import load


@pytest.fixture
def waits():
    """The seconds that the client wanted to wait; nobody waits."""
    return []


@pytest.fixture
def connected(tmp_path, waits):
    """connected(base_url, **settings) -> Client; `environ` adds variables of other names."""
    clients = []

    def build(base_url, *, today=TODAY, environ=None, **settings):
        named = {f"VERAX_{name.upper()}": str(value) for name, value in settings.items()}
        usual = {"VERAX_HOME": str(tmp_path), "VERAX_BASE_URL": base_url, "OPENAI_API_KEY": KEY}
        transport = partial(Transport, sleep=waits.append)
        clients.append(
            connect(load(usual | named | (environ or {})), today=today, transport=transport)
        )
        return clients[-1]

    yield build
    for client in clients:
        client.transport.close()


@pytest.fixture
def client(service, connected):
    return connected(service.base_url, stream="never")
