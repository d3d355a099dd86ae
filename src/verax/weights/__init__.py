"""The embedded networks: one .onnx file and one model card each."""

from pathlib import Path

from verax.errors import choose

FILES = {"tone": "tone.onnx", "detail": "detail.onnx"}


def path(name: str) -> Path:
    """The file of the embedded network called `name`."""
    return Path(__file__).parent / choose(FILES, name, kind="embedded network")
