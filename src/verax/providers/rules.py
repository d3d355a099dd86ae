"""Checks, before anything is sent, whether model and service accept a request; chooses sizes.

A refused field that the request lists as optional is left out, with a notice. Any other refused
field is an error.
"""

import io
import math
import re
from dataclasses import replace
from typing import Any, TypeVar

from PIL import Image as PillowImage

from verax.catalog import Gateway
from verax.catalog.models import Model, ModelLimits, Size, Sizes, parse_size
from verax.errors import ImageReadError, InputError, SizeMismatchError
from verax.providers import EditRequest, GenerateRequest, ImageFile, Request

R = TypeVar("R", bound=GenerateRequest)
MEDIA_TYPES = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}
DATA_URL_CHARACTERS = 20_971_520  # longest data URL that the API takes in JSON
_CHOOSABLE = (
    *("size", "quality", "complexity", "background", "output_format", "output_compression"),
    *("moderation", "n", "stream", "partial_images", "safety_identifier"),
    *("mask", "markup", "input_fidelity"),
)
_EMPTY: dict[str, Any] = {"n": 1, "stream": False}


def check(
    request: R, model: Model, gateway: Gateway, limits: ModelLimits
) -> tuple[R, tuple[str, ...]]:
    """The request as it may be sent, and a sentence for each optional field that was left out.

    Raises InputError for anything that the model, the service or the API would refuse.
    """
    _check_text(request)
    _check_prompt(request.prompt, limits)
    _check_route(request, gateway)
    request, notices = _without_refused(request, model, gateway)
    _check_numbers(request, limits)
    _check_size(request, model)
    _check_format(request)
    if isinstance(request, EditRequest):
        _check_pictures(request, gateway, limits)
    return request, notices


def _check_text(request: Request) -> None:
    """Raise InputError if a text in the request has surrogates (characters that are not valid in
    Unicode text); these come from a terminal without UTF-8."""
    for name, value in request.fields().items():
        if isinstance(value, str) and any("\ud800" <= sign <= "\udfff" for sign in value):
            raise InputError(
                f"{name}: expected text in UTF-8, got another encoding, perhaps Latin-1; use a "
                "terminal with UTF-8 (see the variable LANG)"
            )


def _check_prompt(prompt: str, limits: ModelLimits) -> None:
    if not prompt.strip():
        raise InputError("expected a prompt, got an empty one; say what the picture should show")
    if len(prompt) > limits.prompt_characters:
        raise InputError(
            f"the prompt has {len(prompt):,} characters; the service accepts at most "
            f"{limits.prompt_characters:,}; shorten it"
        )


def _check_route(request: Request, gateway: Gateway) -> None:
    name = gateway.name
    if request.kind == "edit" and not gateway.edit:
        raise InputError(f"{name} cannot edit pictures; choose another service with --gateway")
    for ending in gateway.refused_models:
        if request.model.endswith(ending):
            raise InputError(
                f"{name} runs {request.model} as a chat, in which size, mask and n have no "
                f"effect; choose the model {request.model.removesuffix(ending)}"
            )


def _without_refused(request: R, model: Model, gateway: Gateway) -> tuple[R, tuple[str, ...]]:
    """The request without the optional fields that are refused, and a sentence for each of these.
    Raises InputError if a refused field is not optional."""
    notices: list[str] = []
    dropped: dict[str, Any] = {}
    for name in _CHOOSABLE:
        value = getattr(request, name, None)
        if value is None or value == _EMPTY.get(name):
            continue
        reason = _refusal(name, value, model, gateway)
        if not reason:
            continue
        if name not in request.optional:
            raise InputError(
                f"{name}: {reason}; leave out {name}, or choose another model or service"
            )
        dropped[name] = _EMPTY.get(name)
        notices.append(f"{name} not sent: {reason}")
    if "stream" in dropped:
        dropped["partial_images"] = None
    return replace(request, **dropped), tuple(notices)


def _refusal(name: str, value: object, model: Model, gateway: Gateway) -> str:
    """Why the model or service refuses a field with this value; "" if they accept it."""
    if name in gateway.dropped:
        return f"{gateway.name}: {gateway.dropped[name]}"
    if name == "mask" and not gateway.mask:
        return f"{gateway.name} does not accept masks"
    if gateway.fields is not None and name not in gateway.fields:
        return f"{gateway.name} does not know this field"
    if name in model.refused:
        return f"{model.name} refuses it: {model.refused[name]}"
    allowed = model.fields.get(name, ())
    if allowed and value not in allowed:
        return f"{model.name} accepts {', '.join(allowed)}, not {value!r}"
    return ""


def _check_numbers(request: Request, limits: ModelLimits) -> None:
    _in_range("n", request.n, 1, limits.pictures)
    _in_range("partial_images", request.partial_images, 0, limits.partial_images)
    _in_range("output_compression", request.output_compression, 0, 100)
    if request.partial_images is not None and not request.stream:
        raise InputError("partial_images: only streamed answers have previews; set stream to true")
    if request.stream and request.n > 1:
        raise InputError(f"n: a streamed answer has one picture, got n = {request.n}; set n = 1")


def _in_range(name: str, value: int | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        raise InputError(f"{name}: expected a number from {low} to {high}, got {value}; change it")


def _check_size(request: Request, model: Model) -> None:
    if request.size in (None, "auto"):
        return
    why = model.sizes.why_not(parse_size(request.size or ""))
    if why:
        raise InputError(
            f"size: {model.name} does not accept {request.size}: {why}; choose another size"
        )


def _check_format(request: Request) -> None:
    form = request.output_format
    if form in ("gif", "svg"):
        raise InputError(f"output_format: expected png, jpeg or webp, got {form}; change it")
    if request.output_compression is not None and form not in ("jpeg", "webp"):
        raise InputError(
            "output_compression: only jpeg and webp have it; set output_format to jpeg or webp"
        )
    if request.background == "transparent" and form == "jpeg":
        raise InputError("background: jpeg has no transparency; set output_format to png or webp")


def _check_pictures(request: EditRequest, gateway: Gateway, limits: ModelLimits) -> None:
    count = len(request.images)
    if not 1 <= count <= limits.images:
        raise InputError(f"expected 1 to {limits.images} pictures, got {count}; add or remove some")
    sizes = [_check_picture(image, gateway, limits) for image in request.images]
    if request.mask and request.markup:
        raise InputError("expected either a mask or a markup, got both; leave out one of them")
    for name, file in request.files():
        if name != "image":
            _check_guide(name, file, sizes[0], limits)


def _check_picture(image: ImageFile, gateway: Gateway, limits: ModelLimits) -> Size:
    if image.media_type not in MEDIA_TYPES:
        raise InputError(
            f"{image.name}: expected the media type {' or '.join(MEDIA_TYPES)}, got "
            f"{image.media_type}; convert the picture"
        )
    if len(image.data) >= limits.image_bytes:
        raise InputError(
            f"{image.name}: expected less than {limits.image_bytes / 1e6:.0f} MB, got "
            f"{len(image.data) / 1e6:.1f} MB; make the picture smaller"
        )
    if gateway.body != "multipart" and len(image.data) * 4 / 3 > DATA_URL_CHARACTERS - 64:
        raise InputError(
            f"{image.name}: expected at most 15.7 MB for the service {gateway.name}, got "
            f"{len(image.data) / 1e6:.1f} MB; make the picture smaller"
        )
    return open_picture(image).size


def _check_guide(name: str, file: ImageFile, size: Size, limits: ModelLimits) -> None:
    picture = open_picture(file)
    if picture.format != "PNG" or "A" not in picture.getbands():
        raise InputError(
            f"{name}: expected a PNG with an alpha channel, got a {picture.format} file with the "
            f"channels {''.join(picture.getbands())}; save it as such a PNG"
        )
    if picture.size != size:
        raise SizeMismatchError(
            f"{name} has {picture.width}x{picture.height} pixels, but the first picture has "
            f"{size[0]}x{size[1]}; give both the same size"
        )
    if len(file.data) >= limits.mask_bytes:
        raise InputError(
            f"{name}: expected less than 4 MB, got {len(file.data) / 1e6:.1f} MB; "
            "make the file smaller"
        )
    if picture.getchannel("A").getextrema()[0] == 255:
        raise InputError(
            f"{name}: expected some transparent pixels, got none; make the pixels that the model "
            "may change transparent"
        )


def open_picture(file: ImageFile) -> PillowImage.Image:
    """Open a PNG, JPEG or WebP file without decoding its pixels. Raises ImageReadError if it is no
    such file."""
    try:
        return PillowImage.open(io.BytesIO(file.data), formats=list(MEDIA_TYPES.values()))
    except (OSError, ValueError, PillowImage.DecompressionBombError) as exc:
        raise ImageReadError(
            f"{file.name}: expected a PNG, JPEG or WebP picture, got something else; convert it"
        ) from exc


USUAL_PIXELS = 1_572_864  # 1536x1024, a size that every model accepts


def text_size(sizes: Sizes, *, size: str = "", aspect: str = "") -> str | None:
    """The size to request, "WIDTHxHEIGHT" or "auto". It is given either as `size`, in that form, or
    as `aspect`, a ratio such as "16:9". If both are "", the result is None: the service chooses.

    Raises InputError if both are set, if the model does not accept the size, or if no size that it
    accepts has about that ratio.
    """
    if size and aspect:
        raise InputError("expected either --size or --aspect, got both; leave out one of them")
    if aspect:
        width, height = aspect_size(sizes, parse_aspect(aspect))
        return f"{width}x{height}"
    if not size or size == "auto":
        return size or None
    why = sizes.why_not(parse_size(size))
    if why:
        near = nearest(sizes, parse_size(size))
        raise InputError(
            f"size: the model does not accept {size}: {why}; choose another size; the nearest size "
            f"that it accepts is {near[0]}x{near[1]}"
        )
    return size


def parse_aspect(text: str) -> float:
    """Width divided by height, from a text such as "16:9". Raises InputError for other text."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)[:/](\d+(?:\.\d+)?)", text)
    if not match or not (float(match[1]) > 0 and float(match[2]) > 0):
        raise InputError(f"aspect: expected WIDTH:HEIGHT such as 16:9, got {text!r}; correct it")
    return float(match[1]) / float(match[2])


def aspect_size(sizes: Sizes, ratio: float, *, pixels: int = USUAL_PIXELS) -> Size:
    """The size that the model accepts and that fits best: width / height is close to `ratio`, and
    width x height is roughly `pixels` (by default 1536 x 1024).

    The ratio matters most: a ratio that is wrong by 0.5 % is as bad as 2.7 times too many pixels.
    Raises InputError if no size comes within 5 % of the ratio.
    """
    best = min(_legal(sizes), key=lambda s: _off(s, ratio, pixels))
    if abs(math.log(best[0] / best[1] / ratio)) > 0.05:
        choices = ", ".join(f"{w}x{h}" for w, h in sizes.fixed)
        most = f"the longer side is at most {sizes.max_ratio:g} times the shorter one"
        limit = f"only {choices} are possible" if choices else most
        raise InputError(
            f"no size of this model has the aspect ratio {ratio:.3g}: {limit}; choose another ratio"
        )
    return best


def nearest(sizes: Sizes, size: Size) -> Size:
    """The size that the model accepts and that is most similar to `size` in aspect ratio and number
    of pixels, which count equally."""
    ratio, pixels = max(size[0], 1) / max(size[1], 1), max(size[0] * size[1], 1)
    return min(_legal(sizes), key=lambda s: _off(s, ratio, pixels, tolerance=1.0))


def _legal(sizes: Sizes) -> list[Size]:
    if sizes.fixed:
        return list(sizes.fixed)
    sides = range(sizes.multiple, sizes.max_edge + 1, sizes.multiple)
    return [(w, h) for w in sides for h in sides if not sizes.why_not((w, h))]


def _off(size: Size, ratio: float, pixels: int, tolerance: float = 0.005) -> float:
    """The distance of a size from an aspect ratio and a number of pixels; 0 if it has both exactly.

    It is |ln(a)| / `tolerance` + |ln(b)|, where a is the factor by which the ratio is wrong, and b
    the factor by which the number of pixels is wrong.
    """
    off = abs(math.log(size[0] / size[1] / ratio)) / tolerance
    return off + abs(math.log(size[0] * size[1] / pixels))
