"""What services told or showed, kept as JSON in the user's folder: end dates, probe results."""

import json
from pathlib import Path
from typing import Any

from verax.store import write_whole, writing

DATES = "shutdown-dates.json"  # service -> model -> ISO date
PROBES = "probes.json"  # service -> model -> what was asked -> verdict


def recall(home: Path, name: str, service: str) -> dict[str, Any]:
    """What is kept about a service in file `name`; {} where nothing is, or nothing readable."""
    found = _all(home / name).get(service, {})
    return found if isinstance(found, dict) else {}


def keep(home: Path, name: str, service: str, value: dict[str, Any]) -> None:
    """Replace what is kept about a service in file `name`. Raises OutputError."""
    with writing(home):
        write_whole(
            home / name, json.dumps(_all(home / name) | {service: value}, indent=2).encode()
        )


def _all(file: Path) -> dict[str, Any]:
    try:
        everything = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return everything if isinstance(everything, dict) else {}
