"""The embedded networks: one .onnx file and one model card each."""

from pathlib import Path

from verax.errors import choose

FOLDER = Path(__file__).parent
FILES = {name: f"{name}.onnx" for name in ("tone", "dark", "detail", "rain", "fusion")}


def path(name: str) -> Path:
    """The file of the embedded network called `name`."""
    return FOLDER / choose(FILES, name, kind="embedded network")
