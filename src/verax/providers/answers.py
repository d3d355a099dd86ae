"""Parses the body of an answer: pictures, token counts, and differences from the request.

Fresh and stored answers are parsed by the same functions.
"""

import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from verax.errors import ImageReadError, ProviderError, ProviderRefused, VeraxError
from verax.providers import GeneratedImage, ImagesAnswer, Request, Usage
from verax.providers.failures import parse_error
from verax.providers.payload import (
    PictureSource,
    entries,
    entry_count,
    is_stream,
    parse_stream,
    read_usage,
    salvage,
    sources,
    stated_usd,
)

Fetch = Callable[[str], bytes]  # downloads a link
SHOW = "the journal keeps the answer; to find it, run: verax journal list"
MAX_PIXELS = 64_000_000  # far above every legal size; a larger picture is not decoded
DECODED_PIXELS = 16_000_000  # most pixels of one answer that stay decoded: 192 MB
_MEDIA = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
_TURN = 0x0112  # EXIF tag of the orientation; 5 to 8 mean that width and height are swapped


def read_answer(
    body: bytes,
    *,
    request: Request | None = None,
    fetch: Fetch | None = None,
    headers: Mapping[str, str] | None = None,
    retries: int = 0,
) -> ImagesAnswer:
    """The answer parsed from `body`, which is JSON of the Images API or an event stream.

    Raises ProviderRefused if moderation refused the request, ProviderError if no picture can be
    read. If only some pictures cannot be read, the answer has a notice about each of these.

    Args:
        request: the answer gets a notice about each difference from it; None for no comparison.
        fetch: downloads a linked picture; None if linked pictures cannot be downloaded.
        headers: HTTP headers of the answer, names in lower case, for the request id; None if
            unknown.
        retries: how many attempts to send the request failed before this answer came.
    """
    data = table_of(body)
    images, lost = _pictures(data, body, fetch)
    answer = ImagesAnswer(
        images=images,
        usage=read_usage(data.get("usage")),
        model=_text(data.get("model")) or _text(_table(data.get("metadata")).get("executed_model")),
        size=_text(data.get("size")),
        quality=_text(data.get("quality")),
        billed_usd=stated_usd(data),
        request_id=(headers or {}).get("x-request-id", ""),
        raw=body,
        retries=retries,
        notices=lost,
        lost=lost,
    )
    notices = differences(answer, request) if request else ()
    return replace(answer, notices=(*lost, *notices))


def differences(answer: ImagesAnswer, request: Request) -> Iterator[str]:
    """Sentences for the user, one for each difference between the answer and the request: in the
    pictures' size and format, their number, and the model. A size that the request leaves to the
    service is not compared; a request without an output format expects PNG."""
    count = 0
    for count, image in enumerate(answer.images, 1):
        size = f"{image.width}x{image.height}"
        if request.size not in (None, "auto", size):
            yield f"requested {request.size}, but picture {count} is {size}"
        form = image.media_type.removeprefix("image/")
        if form != (request.output_format or "png"):
            yield f"requested {request.output_format or 'png'}, but picture {count} is {form}"
    if count != request.n:
        yield f"requested {request.n} pictures, but got {count}"
    if answer.model and request.model not in answer.model:
        yield f"requested {request.model}, but the service used {answer.model}"


def holds_pictures(body: bytes) -> bool:
    """Whether an answer, even an interrupted one, has at least one complete picture or link to a
    picture. False if the body cannot be parsed."""
    try:
        return bool(body) and bool(entries(table_of(body)))
    except ProviderError:
        return False


def links(body: bytes) -> tuple[str, ...]:
    """The links to pictures in the body of an answer; () if the body cannot be parsed."""
    links: list[str] = []
    try:
        listed = entries(table_of(body))
    except ProviderError:
        return ()
    for entry in listed:
        with suppress(ProviderError):
            links += [one.link for one in sources(entry) if one.link]
    return tuple(dict.fromkeys(links))


def bill(body: bytes) -> tuple[Usage | None, float | None]:
    """The token counts, and the price in US dollars, that the body of an answer states; None for
    what it does not state."""
    try:
        data = table_of(body)
    except ProviderError:
        return None, None
    return read_usage(data.get("usage")), stated_usd(data)


def table_of(body: bytes) -> dict[str, Any]:
    """The body of an answer as a dict with the keys of the Images API, such as "data" and "usage".

    For a truncated body, the dict has only the complete pictures. Raises ProviderError if the body
    is neither JSON nor an event stream and has no complete picture.
    """
    if is_stream(body):
        stream = parse_stream(body)
        return stream.answer() or dict(stream.error or {})
    try:
        return json_object(body)
    except ProviderError:
        rest = salvage(body)
        if rest is None:
            raise
        return rest


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises ProviderError if the body is anything else."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise ProviderError(
            f"expected JSON from the service, got something else ({exc}); check the base URL"
        ) from exc
    if not isinstance(data, dict):
        raise ProviderError(
            "expected a JSON object from the service, got another JSON value of the type "
            f"{type(data).__name__}; check the base URL"
        )
    return data


def real_picture(data: bytes) -> GeneratedImage:
    """The picture in `data`, the bytes of a PNG, JPEG or WebP file. Its width and height are those
    after EXIF rotation.

    The whole file is decoded; if that fails, for example because the file is truncated or has more
    than 64 million pixels, raises ProviderError. A picture that Verax can save but not restore,
    such as an animation, is returned without decoded pixels.
    """
    from verax import image as images
    from verax.image.header import format_of_bytes

    media_type = f"image/{format_of_bytes(data)}"
    if media_type in _MEDIA.values():
        with suppress(ImageReadError):
            photo = images.decode(data, name="generated", max_pixels=MAX_PIXELS)
            return GeneratedImage(data, media_type, photo.width, photo.height, photo)
    try:
        picture = PillowImage.open(io.BytesIO(data), formats=list(_MEDIA))
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError(f"{picture.width}x{picture.height} pixels")
        picture.load()
        on_its_side = picture.getexif().get(_TURN, 1) in (5, 6, 7, 8)
    except Exception as exc:  # decoders raise arbitrary exceptions
        raise ProviderError(
            f"expected a complete PNG, JPEG or WebP picture from the service, got one that cannot "
            f"be read ({_reason(exc)}); it was probably billed; {SHOW}"
        ) from exc
    width, height = picture.size[::-1] if on_its_side else picture.size
    return GeneratedImage(data, _MEDIA[picture.format or ""], width, height)


def _reason(exc: Exception) -> str:
    """Why a picture could not be read, in words. For an unknown format, Pillow's message is not
    used, since it contains a memory address."""
    unknown = isinstance(exc, UnidentifiedImageError)
    return "not a PNG, JPEG or WebP file" if unknown else str(exc)


def is_picture(data: bytes) -> bool:
    """Whether the bytes are a complete picture that can be decoded."""
    try:
        real_picture(data)
    except ProviderError:
        return False
    return True


def _pictures(
    data: dict[str, Any], body: bytes, fetch: Fetch | None
) -> tuple[tuple[GeneratedImage, ...], tuple[str, ...]]:
    """The pictures of an answer that can be read, and a sentence about each of the others.

    `data` is the parsed `body` of the answer. `fetch` downloads linked pictures; with None these
    count as unreadable. Raises ProviderRefused if moderation refused the request, ProviderError if
    no picture can be read.
    """
    listed = entries(data)
    if not listed:
        _raise_stated_error(data, body)
        raise ProviderError(
            f"expected a picture in the answer, got none; the call may have been billed; {SHOW}"
        )
    images: list[GeneratedImage] = []
    lost: list[str] = []
    room = DECODED_PIXELS
    for number, entry in enumerate(listed, 1):
        try:
            image = _image(entry, fetch)
            room -= image.width * image.height
            images.append(image if room >= 0 else replace(image, photo=None))
        except VeraxError as exc:
            if len(listed) == 1:
                raise
            lost.append(f"picture {number} of {len(listed)}: {exc}")
    empty = entry_count(data) - len(listed)
    if empty > 0:
        lost.append(f"{empty} of {entry_count(data)} entries of the answer hold no picture")
    if not images:
        raise ProviderError("; ".join(lost))
    return tuple(images), tuple(lost)


def _raise_stated_error(data: Mapping[str, Any], body: bytes) -> None:
    """Raise the error that an answer states, if any; some services send errors with the HTTP status
    200. `data` is the parsed `body`; if it is {}, the body itself is read."""
    details = parse_error(json.dumps(data).encode() if data else body)
    if details.moderated:
        raise ProviderRefused(
            details.message, stage=details.sure_stage, categories=details.categories
        )
    if details.code:
        raise ProviderError(f"{details.code}: {details.message}; {SHOW}")


def _image(entry: Mapping[str, Any], fetch: Fetch | None) -> GeneratedImage:
    """The picture of one entry in an answer's list of pictures. An entry may hold the picture
    several times, as base64 and as links; the first one that can be read is used. `fetch` downloads
    a link; with None only base64 is read. Raises the first error if none of them can be read."""
    first: VeraxError | None = None
    for one in sources(entry):
        try:
            return real_picture(_bytes(one, fetch))
        except VeraxError as exc:  # also SettingsError, for links that local_only forbids
            first = first or exc
    raise first or ProviderError(f"the answer has an entry without a picture; {SHOW}")


def _bytes(one: PictureSource, fetch: Fetch | None) -> bytes:
    if one.data is not None:
        return one.data
    return (fetch or not_fetched)(one.link)


def not_fetched(link: str) -> bytes:
    raise ProviderError(
        "the answer links to a picture that is not downloaded yet; to download it, at no cost, "
        "run: verax journal fetch"
    )


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
