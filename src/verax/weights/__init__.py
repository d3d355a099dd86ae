"""The files of the embedded networks; README.md is their model card."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from verax.errors import choose

EMBEDDED = Path(__file__).parent
FACES = EMBEDDED / "faces.onnx"  # the detector of verax.faces, not trained by us
DAMAGE = EMBEDDED / "damage.onnx"  # holes, scratches and dust of a print, for verax.prints
FOLDER = EMBEDDED  # folder that is searched first; it may hold only some of the networks
FILES = {name: f"{name}.onnx" for name in ("judge", "tone", "dark", "dusk", "detail", "rain")}


def path(name: str) -> Path:
    """The path of the network `name`, such as "tone", that comes with Verax."""
    file = choose(FILES, name, kind="embedded network")
    return FOLDER / file if (FOLDER / file).exists() else EMBEDDED / file


@lru_cache(maxsize=8)
def session(file: Path) -> Any:  # noqa: ANN401  # an onnxruntime.InferenceSession
    """The ONNX Runtime session of a network file; the last eight sessions stay open."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # idle threads would otherwise spin and take the core that another stage needs
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # ONNX Runtime ignores this variable, which the other libraries follow; 0: its default
    threads = os.environ.get("OMP_NUM_THREADS", "")
    options.intra_op_num_threads = int(threads) if threads.isdecimal() else 0
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
