"""Writes a request as one service expects it, and tests which fields a service obeys.

The catalog says how services differ: in paths, field names, the form of the body, and the meaning
of mask pixels. Some services do not do what they document: they change the size or the format, or
ignore the mask. A probe finds this out with two cheap edits of a test picture.
"""

import base64
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageOps

from verax.catalog import Gateway, Scalar
from verax.catalog.models import Sizes
from verax.errors import ProviderError, ProviderUncertain
from verax.providers import EditRequest, ImageFile, ImagesAnswer, Request

Refer = Callable[[ImageFile], Mapping[str, str]]  # a picture -> the JSON object that refers to it
Prepare = Callable[[EditRequest], tuple[EditRequest, tuple[str, ...]]]  # see `Client.prepare`


@dataclass(frozen=True, slots=True)
class Wire:
    """The path and body of an HTTP request. The body is `json`, or a form with `form` and `files`.

    Attributes:
        path: is appended to the base URL; may contain a query.
        json: None if the body is a form.
        form: (field name, text) pairs, in order.
        files: (field name, file) pairs, in order.
    """

    path: str
    json: Mapping[str, Any] | None = None
    form: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, ImageFile], ...] = ()


def wire(request: Request, gateway: Gateway, *, deployment: str = "") -> Wire:
    """The HTTP request, in the form that the service `gateway` expects. `deployment` is the name of
    the model to send; "" sends the name that the catalog gives for this service."""
    model = deployment or gateway.ids.get(request.model, request.model)
    path = (gateway.edit if request.kind == "edit" else gateway.generate).format(model=model)
    fields = _fields(request, gateway, model)
    if not isinstance(request, EditRequest):
        return Wire(path, json=fields)
    if gateway.body == "references":
        references = [
            {"type": "image_url", "image_url": {"url": data_url(i)}} for i in request.images
        ]
        return Wire(path, json=fields | {"input_references": references})
    if gateway.body == "json":
        return Wire(path, json=fields | json_pictures(request))
    form = tuple((name, _text(value)) for name, value in fields.items())
    return Wire(path, form=form, files=_form_files(request, gateway))


def json_pictures(request: EditRequest, refer: Refer | None = None) -> dict[str, Any]:
    """The pictures of an edit as JSON fields of the API: `images`, `mask` and `markup`.

    `refer` returns the JSON object for a picture, such as {"file_id": ...} for an uploaded one. If
    it is None, the object is {"image_url": ...} with the whole picture as a data URL.
    """
    refer = refer or (lambda image: {"image_url": data_url(image)})
    pictures: dict[str, Any] = {"images": [refer(image) for image in request.images]}
    for name, file in request.files():
        if name != "image":
            pictures[name] = refer(file)
    return pictures


def batch_line(
    request: Request, gateway: Gateway, endpoint: str, upload: Callable[[ImageFile], str]
) -> bytes:
    """One line of a batch's input file: the request as JSON, with the file ids of its pictures.

    `endpoint` is the path of the API, such as "/v1/images/edits". `upload` uploads a picture, if
    the service does not have it yet, and returns the service's id of the file. The fingerprint of
    the request is the line's `custom_id`, by which the answer is found.
    """
    gateway = replace(gateway, body="json")
    if isinstance(request, EditRequest):
        bare = replace(request, images=(), mask=None, markup=None)
        pictures = json_pictures(request, lambda file: {"file_id": upload(file)})
        body = {**(wire(bare, gateway).json or {}), **pictures}
    else:
        body = dict(wire(request, gateway).json or {})
    line = {"custom_id": request.fingerprint(), "method": "POST", "url": endpoint, "body": body}
    return json.dumps(line).encode() + b"\n"


def data_url(image: ImageFile) -> str:
    return f"data:{image.media_type};base64,{base64.b64encode(image.data).decode()}"


def with_polarity(mask: ImageFile, polarity: str) -> ImageFile:
    """The mask in the form that a service expects. In `mask`, pixels with alpha 0 may be edited.

    The polarity "alpha" returns `mask` unchanged. "white" and "black" return a greyscale PNG in
    which the pixels that may be edited have that colour, and the others the opposite one.
    """
    if polarity == "alpha":
        return mask
    alpha = PillowImage.open(io.BytesIO(mask.data)).convert("RGBA").getchannel("A")
    grey = ImageOps.invert(alpha) if polarity == "white" else alpha
    buffer = io.BytesIO()
    grey.save(buffer, "PNG")
    return ImageFile(buffer.getvalue(), mask.name, "image/png")


def _fields(request: Request, gateway: Gateway, model: str) -> dict[str, Scalar]:
    values = request.fields() | {"model": model} | dict(gateway.constants)
    return {gateway.renamed.get(name, name): value for name, value in values.items()}


def _text(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _form_files(request: EditRequest, gateway: Gateway) -> tuple[tuple[str, ImageFile], ...]:
    one = "image" if len(request.images) == 1 else "image[]"
    image = one if gateway.image == "auto" else gateway.image
    names = {"image": image} | {
        name: gateway.renamed.get(name, name) for name in ("mask", "markup")
    }
    return tuple(
        (names[name], with_polarity(file, gateway.mask) if name == "mask" else file)
        for name, file in request.files()
    )


PROMPT = "Paint the whole picture plain red."
HONOURED, IGNORED = "honoured", "ignored"
# a mask is honoured if protected pixels change by less than this fraction of the other pixels
KEPT_SHARE = 0.5
Findings = dict[str, str]


def probe_requests(model: str, rules: Sizes, prepare: Prepare) -> dict[str, EditRequest | None]:
    """The two requests of a probe, as a dict. "size" tests whether the service obeys the requested
    size and format. "mask" tests whether it obeys a mask; it is None if masks are not accepted.

    `rules` are the sizes that the model accepts. `prepare` (`Client.prepare`) returns a request as
    it will be sent, and notices. The requested size differs from that of the picture sent, to
    detect a service that returns its input.
    """
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
    prepared = prepare(masked)[0]
    return {
        "size": prepare(size)[0],
        "mask": prepared if prepared.mask is not None else None,
    }


def probe(
    requests: dict[str, EditRequest | None], call: Callable[[Request], ImagesAnswer], *, today: date
) -> Findings:
    """Send the requests from `probe_requests` with `call`, which may cost money. Returns what was
    found: for each of "size", "format" and "mask" a text that begins with "honoured", "ignored",
    "refused" or "not sent"; and for "asked" the date `today` in ISO format. Raises
    ProviderUncertain if a call got no answer and may have been billed; other errors of the service
    are found as "refused"."""
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
    change_of = f"{inside:.1f} levels where edits are allowed, {elsewhere:.1f} elsewhere"
    return f"{verdict}: mean change {change_of}"


def _levels(data: bytes, size: tuple[int, int]) -> NDArray[np.float32]:
    picture = PillowImage.open(io.BytesIO(data)).convert("RGB").resize(size)
    return np.asarray(picture, np.float32)


def _picture(width: int, height: int) -> ImageFile:
    """A PNG of blue and green waves with little red, so that red paint changes it clearly."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    green = 120 + 60 * np.sin(x / 70)
    blue = 150 + 60 * np.cos(y / 90)
    return _png(np.dstack([np.full_like(green, 40), green, blue]).astype(np.uint8))


def _mask(width: int, height: int) -> ImageFile:
    """A PNG mask that allows edits in the upper half of the picture only."""
    levels = np.full((height, width, 4), 255, np.uint8)
    levels[: height // 2, :, 3] = 0
    return _png(levels)


def _png(levels: NDArray[np.uint8]) -> ImageFile:
    buffer = io.BytesIO()
    PillowImage.fromarray(levels).save(buffer, "PNG")
    return ImageFile(buffer.getvalue(), "probe.png")
