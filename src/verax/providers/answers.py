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
    """The answer in a body, which is JSON of the Images API or an event stream.

    `fetch` downloads linked pictures; `headers` are the HTTP headers of the answer. If some of
    several pictures cannot be read, the answer has a notice on each. Raises ProviderRefused if
    moderation refused the request, ProviderError if no picture can be read.
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
    """Notices: one for each difference of answer and request in size, format, count or model."""
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
    """Whether an answer, even an interrupted one, has at least one complete picture."""
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
    """The token counts and the price in US dollars that a body states; None for each not stated."""
    try:
        data = table_of(body)
    except ProviderError:
        return None, None
    return read_usage(data.get("usage")), stated_usd(data)


def table_of(body: bytes) -> dict[str, Any]:
    """The answer as one JSON object; of a truncated answer, an object with its complete pictures.

    Raises ProviderError if the body is neither JSON nor events and holds no complete picture.
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
        raise ProviderError(f"expected JSON from the service, got something else: {exc}") from exc
    if not isinstance(data, dict):
        raise ProviderError(f"expected a JSON object from the service, got a {type(data).__name__}")
    return data


def real_picture(data: bytes) -> GeneratedImage:
    """The picture in the bytes of a file, with its format and its size after EXIF rotation.

    The whole file is decoded, so that a truncated one raises ProviderError. Pictures that Verax can
    only save, such as animations, are returned without decoded pixels.
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
            f"the service sent a picture that cannot be read ({_reason(exc)}); the answer is "
            "stored and was probably billed"
        ) from exc
    width, height = picture.size[::-1] if on_its_side else picture.size
    return GeneratedImage(data, _MEDIA[picture.format or ""], width, height)


def _reason(exc: Exception) -> str:
    """Why Pillow could not read a picture, without the name of a buffer in memory."""
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
    """The pictures that can be read, and a notice for each of the others. Raises ProviderError if
    none can be read."""
    listed = entries(data)
    if not listed:
        _raise_stated_error(data, body)
        raise ProviderError(
            "no picture in the answer, which may be billed; see: verax journal list"
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
    """Raises the error that an answer holds: some services send errors with HTTP status 200."""
    details = parse_error(json.dumps(data).encode() if data else body)
    if details.moderated:
        raise ProviderRefused(
            details.message, stage=details.sure_stage, categories=details.categories
        )
    if details.code:
        raise ProviderError(
            f"{details.code}: {details.message}; the journal keeps the answer, see verax journal "
            "show"
        )


def _image(entry: Mapping[str, Any], fetch: Fetch | None) -> GeneratedImage:
    """The picture of an entry, from the first of its sources that can be read."""
    first: VeraxError | None = None
    for one in sources(entry):
        try:
            return real_picture(_bytes(one, fetch))
        except VeraxError as exc:  # also SettingsError, for links that local_only forbids
            first = first or exc
    raise first or ProviderError(
        "the answer holds an entry without a picture; the journal keeps it, see verax journal show"
    )


def _bytes(one: PictureSource, fetch: Fetch | None) -> bytes:
    if one.data is not None:
        return one.data
    if fetch is None:
        raise ProviderError("the picture behind a link is not stored yet; try: verax journal fetch")
    return fetch(one.link)


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
