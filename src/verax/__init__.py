"""Restore a damaged photo with the picture an image generator made of it.

The public names are loaded on first use, so that `import verax` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verax.deviation.measure import measure
    from verax.deviation.record import Deviation
    from verax.fusion.fuse import Fusion
    from verax.geometry.register import Registration, register
    from verax.image import Photo
    from verax.metrics.scoring import score
    from verax.pipeline import Restoration, restore

__version__ = "0.1.0"

_HOME = {
    "Deviation": "verax.deviation.record",
    "Fusion": "verax.fusion.fuse",
    "Photo": "verax.image",
    "Registration": "verax.geometry.register",
    "Restoration": "verax.pipeline",
    "measure": "verax.deviation.measure",
    "register": "verax.geometry.register",
    "restore": "verax.pipeline",
    "score": "verax.metrics.scoring",
}

__all__ = [
    "Deviation",
    "Fusion",
    "Photo",
    "Registration",
    "Restoration",
    "__version__",
    "measure",
    "register",
    "restore",
    "score",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401  # a module attribute can be anything
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'verax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
