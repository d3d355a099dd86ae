"""A client of the test service."""

from asking import client, connected, desk, waits  # noqa: F401  # fixtures
