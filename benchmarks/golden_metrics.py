"""Print the expected values in tests/metrics/test_parity.py with piq, scikit-video and brisque.

    pip install --no-deps piq==0.8.0 torchvision scikit-video==1.1.11 brisque==0.2.0 libsvm-official
    pip install 'numpy<2.4'    # brisque 0.2.0 does not run on newer ones
    python -W ignore benchmarks/golden_metrics.py

None of these packages is a dependency of Verax. Pictures: astronaut (NASA, public domain), chelsea
and coffee (CC0), all shipped with scikit-image.
"""

import sys
from types import ModuleType

import cv2
import numpy as np
import scipy
import scipy.special  # scikit-video uses it without importing it
import skimage.data
import torch
from PIL import Image

LUMA = np.array([[0.299, 0.587, 0.114]], np.float32)


def pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(degraded, clean) float32 pictures by name."""
    noise = np.random.default_rng(0)
    result = {}
    for name in ("astronaut", "chelsea", "coffee"):
        clean = getattr(skimage.data, name)().astype(np.float32) / np.float32(255)
        noisy = np.clip(clean + noise.normal(0, 0.05, clean.shape), 0, 1).astype(np.float32)
        result[f"{name} noise"] = noisy, clean
        result[f"{name} blur"] = cv2.GaussianBlur(clean, (0, 0), 1.5), clean
    return result


def make_importable() -> torch.library.Library:
    """Supply names that the packages expect from their dependencies; keep the result alive."""
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    np.int = int
    misc = ModuleType("scipy.misc")

    def imresize(plane: np.ndarray, factor: float, **_: str) -> np.ndarray:
        size = tuple(int(side * factor) for side in plane.shape[::-1])
        picture = Image.fromarray(np.asarray(plane, np.float32))
        return np.array(picture.resize(size, Image.Resampling.BICUBIC))

    misc.imresize = imresize
    scipy.misc = sys.modules["scipy.misc"] = misc
    return library


def main() -> None:
    _library = make_importable()
    import piq
    from brisque import BRISQUE
    from skvideo.measure.niqe import niqe

    opinion = BRISQUE(url=False)
    for name, (degraded, clean) in pairs().items():
        ours, theirs = (
            torch.from_numpy(p.transpose(2, 0, 1)[None].copy()) for p in (degraded, clean)
        )
        luma = cv2.transform(degraded, LUMA) * np.float32(255)
        levels = np.rint(degraded * 255).astype(np.uint8)
        print(
            f'    "{name}": ({float(piq.fsim(ours, theirs)):.6f}, '
            f"{float(piq.gmsd(ours, theirs)):.6f}, {float(niqe(luma[None])[0]):.4f}, "
            f"{opinion.score(levels):.4f}),"
        )


if __name__ == "__main__":
    main()
