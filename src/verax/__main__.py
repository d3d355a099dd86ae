"""`python -m verax`."""

from verax.cli.main import run

run()
