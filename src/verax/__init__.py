"""Restore a damaged photo with the picture an image generator made of it.

The public names are loaded on first use, so that `import verax` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verax.api import measure, open, register, save, score, warp
    from verax.deviation.record import Deviation
    from verax.errors import VeraxError
    from verax.geometry.register import Registration
    from verax.image import Photo
    from verax.metrics import Protocol, Score
    from verax.pipeline import restore
    from verax.restoration import Restoration

__version__ = "0.2.0"

_HOME = {
    "Deviation": "verax.deviation.record",
    "Photo": "verax.image",
    "Protocol": "verax.metrics",
    "Registration": "verax.geometry.register",
    "Restoration": "verax.restoration",
    "Score": "verax.metrics",
    "VeraxError": "verax.errors",
    "measure": "verax.api",
    "open": "verax.api",
    "register": "verax.api",
    "restore": "verax.pipeline",
    "save": "verax.api",
    "score": "verax.api",
    "warp": "verax.api",
}

__all__ = [
    "Deviation",
    "Photo",
    "Protocol",
    "Registration",
    "Restoration",
    "Score",
    "VeraxError",
    "__version__",
    "measure",
    "open",
    "register",
    "restore",
    "save",
    "score",
    "warp",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401  # a module attribute can be anything
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'verax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
