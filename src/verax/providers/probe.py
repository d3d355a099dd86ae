"""Does a service honour size, format and mask? Asked with a test picture, kept for later calls.

Documentation and behaviour differ between services: sizes are mapped to others, formats replaced,
masks ignored. Two cheap edits tell.
"""

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import date

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from verax.errors import ProviderError, ProviderUncertain
from verax.providers.images_api import Client
from verax.providers.requests import EditRequest, ImageFile, ImagesAnswer, Request

PROMPT = "Paint the whole picture plain red."
HONOURED, IGNORED = "honoured", "ignored"
KEPT_SHARE = 0.5  # a mask is honoured where protected places change less than this share of others
Findings = dict[str, str]


def requests(client: Client, model: str) -> dict[str, EditRequest | None]:
    """The two edits of a probe: "size" (with the format) and "mask", None where there is none.

    The size asked for is not that of the picture sent, so that an echo is not taken for obedience.
    """
    rules = client.model(model).sizes
    target = rules.fixed[-1] if rules.fixed else (1280, 960)
    plain = EditRequest(model=model, prompt=PROMPT, quality="low", images=(_picture(1024, 1024),))
    size = replace(
        plain,
        size=f"{target[0]}x{target[1]}",
        output_format="webp",
        optional=frozenset({"quality", "output_format"}),
    )
    masked = replace(
        plain,
        mask=_mask(1024, 1024),
        size="1024x1024",
        optional=frozenset({"quality", "mask"}),
    )
    prepared = client.prepare(masked)[0]
    return {
        "size": client.prepare(size)[0],
        "mask": prepared if prepared.mask is not None else None,
    }


def probe(
    requests: dict[str, EditRequest | None], call: Callable[[Request], ImagesAnswer], *, today: date
) -> Findings:
    """What the service honours: "honoured", "ignored", "refused: why", or "not sent"."""
    findings = {"asked": today.isoformat(), "size": "not sent", "format": "not sent"}
    request = requests["size"]
    if request is not None:
        findings |= _size_and_format(request, call)
    masked = requests["mask"]
    findings["mask"] = _mask_verdict(masked, call) if masked is not None else "not sent"
    return findings


def _size_and_format(request: EditRequest, call: Callable[[Request], ImagesAnswer]) -> Findings:
    try:
        picture = call(request).images[0]
    except ProviderUncertain:
        raise
    except ProviderError as exc:
        return {"size": f"refused: {exc}", "format": f"refused: {exc}"}
    right = f"{picture.width}x{picture.height}" == request.size
    size = HONOURED if right else f"{IGNORED}: {picture.width}x{picture.height} for {request.size}"
    if request.output_format is None:
        return {"size": size}
    same = picture.media_type == f"image/{request.output_format}"
    return {"size": size, "format": HONOURED if same else f"{IGNORED}: {picture.media_type}"}


def _mask_verdict(request: EditRequest, call: Callable[[Request], ImagesAnswer]) -> str:
    try:
        answer = call(request).images[0]
    except ProviderUncertain:
        raise
    except ProviderError as exc:
        return f"refused: {exc}"
    before = _levels(request.images[0].data, (1024, 1024))
    change = np.abs(_levels(answer.data, (1024, 1024)) - before).mean(axis=2)
    inside, elsewhere = float(change[:512].mean()), float(change[512:].mean())
    verdict = HONOURED if elsewhere < KEPT_SHARE * inside else IGNORED
    return f"{verdict}: mean change {inside:.1f} levels where to edit, {elsewhere:.1f} elsewhere"


def _levels(data: bytes, size: tuple[int, int]) -> NDArray[np.float32]:
    picture = PillowImage.open(io.BytesIO(data)).convert("RGB").resize(size)
    return np.asarray(picture, np.float32)


def _picture(width: int, height: int) -> ImageFile:
    """Soft blue and green waves: nothing that a moderation could mind, nothing red."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    green = 120 + 60 * np.sin(x / 70)
    blue = 150 + 60 * np.cos(y / 90)
    return _png(np.dstack([np.full_like(green, 40), green, blue]).astype(np.uint8))


def _mask(width: int, height: int) -> ImageFile:
    """The upper half may be edited."""
    levels = np.full((height, width, 4), 255, np.uint8)
    levels[: height // 2, :, 3] = 0
    return _png(levels)


def _png(levels: NDArray[np.uint8]) -> ImageFile:
    buffer = io.BytesIO()
    PillowImage.fromarray(levels).save(buffer, "PNG")
    return ImageFile(buffer.getvalue(), "probe.png")
