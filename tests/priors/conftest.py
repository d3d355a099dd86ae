"""A client of the test service."""

from asking import client, connected, waits  # noqa: F401  # fixtures
