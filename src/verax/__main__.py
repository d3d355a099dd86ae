"""`python -m verax`."""

from verax.cli import run

run()
