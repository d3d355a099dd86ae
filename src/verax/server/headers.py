"""What the file of a picture says before anything is decoded. For worker processes only."""

from pathlib import Path

from verax.errors import InputError
from verax.image.header import READABLE, Header, header_of
from verax.server.limits import Limits
from verax.server.replies import Problem


def header(path: Path, param: str, limits: Limits) -> Header:
    """A picture's header. Raises Problem 400 for what is no picture or too large."""
    try:
        seen = header_of(path)
    except InputError as exc:
        raise Problem(400, f"{param}: want a picture ({READABLE})", "invalid_image", param) from exc
    if seen.width * seen.height > limits.pixels:
        most = limits.pixels / 1e6
        raise Problem(
            400, f"{param}: want at most {most:g} megapixels, got {seen.width}x{seen.height}",
            "image_too_large", param,
        )  # fmt: skip
    return seen
