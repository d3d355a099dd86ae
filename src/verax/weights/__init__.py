"""The embedded networks: one .onnx file and one model card each."""

from pathlib import Path

from verax.errors import choose

EMBEDDED = Path(__file__).parent
FACES = EMBEDDED / "faces.onnx"  # the detector of verax.faces, not one of ours
FOLDER = EMBEDDED  # where networks are looked for first; another folder may hold some of them
FILES = {name: f"{name}.onnx" for name in ("tone", "dark", "dusk", "detail", "rain")}


def path(name: str) -> Path:
    """The file of the embedded network called `name`."""
    file = choose(FILES, name, kind="embedded network")
    return FOLDER / file if (FOLDER / file).exists() else EMBEDDED / file
