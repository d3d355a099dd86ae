"""How a request is spelled for one service: path, field names, body form, mask polarity.

What differs between services is data (`verax.catalog`); here are the few functions that
read it.
"""

import base64
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image as PillowImage
from PIL import ImageOps

from verax.catalog import Gateway, Scalar
from verax.providers.requests import EditRequest, ImageFile, Request

Refer = Callable[[ImageFile], Mapping[str, str]]  # a picture -> how JSON points at it


@dataclass(frozen=True, slots=True)
class Wire:
    """What goes out: exactly one of `json` or `form` with `files`.

    Attributes:
        path: below the base URL, with its query.
        form: (field, text), in order.
        files: (field, file), in order.
    """

    path: str
    json: Mapping[str, Any] | None = None
    form: tuple[tuple[str, str], ...] = ()
    files: tuple[tuple[str, ImageFile], ...] = ()


def wire(request: Request, gateway: Gateway, *, deployment: str = "") -> Wire:
    """The request as `gateway` wants it; `deployment` is the model's own name there, if any."""
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
    """The pictures of an edit in the JSON form of the API: `images` and `mask` as references.

    `refer` points at a file, as {"file_id": ...} for one that was uploaded; by default the
    picture travels inside, as a data URL.
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
    """One line of a batch; `upload` gives the file id under which the service has a picture."""
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
    """A mask of alpha 0 = edit, as a service with another polarity reads it.

    "alpha" leaves it; "white" and "black" give a grey PNG where that level marks the place.
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
