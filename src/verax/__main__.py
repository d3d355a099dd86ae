"""Runs the program `verax` for `python -m verax`."""

from verax.cli import run

run()
