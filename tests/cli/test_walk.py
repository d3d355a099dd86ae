"""The walk through the house that docs/architecture.md describes is the one that the code takes."""

import sys
from importlib import import_module
from inspect import unwrap
from pathlib import Path

from commands import verax

DESIGN = Path(__file__).parents[2] / "docs" / "architecture.md"


def stops():
    """(file, function) of each stop, in the order of the walk."""
    lines = DESIGN.read_text(encoding="utf-8").split("## A walk\n")[1].split("```")[1].split("\n")
    for line in filter(None, lines):
        module, _, name = line.split()[1].rpartition(".")
        function = unwrap(getattr(import_module(module), name))
        yield function.__code__.co_filename, name


def test_a_restoration_visits_the_stops_of_the_walk_in_turn_and_each_once(pair, tmp_path):
    photo, prior = pair
    walk = list(stops())
    visits = []

    def profile(frame, event, _):
        stop = frame.f_code.co_filename, frame.f_code.co_name
        if event == "call" and stop in walk:
            visits.append(stop)

    sys.setprofile(profile)
    try:
        done = verax("restore", photo, "--prior", prior, "-o", tmp_path / "out.png")
    finally:
        sys.setprofile(None)

    assert done.returncode == 0, done.stderr
    assert visits == walk
