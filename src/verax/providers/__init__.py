"""Requests to image services and their answers, in the terms of OpenAI's Images API.

Two requests with the same pictures and parameters have the same fingerprint; the journal stores
each answer under the fingerprint of its request. `verax.providers.rules` says whether a model
accepts a request; `verax.providers.dialects` writes a request as one service expects it.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from verax.catalog import Scalar

if TYPE_CHECKING:
    from verax.image import Photo


@dataclass(frozen=True)
class ImageFile:
    """A picture to send: the bytes of its file, a file name, and the media type of the bytes."""

    data: bytes = field(repr=False)
    name: str = "image.png"
    media_type: str = "image/png"

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """A request for pictures made from text alone. The service chooses each field that is None.

    Attributes:
        model: the model's full name, such as "gpt-image-2.5".
        size: "WIDTHxHEIGHT" in pixels, or "auto".
        n: number of pictures requested, 1..10.
        partial_images: number of previews sent before the finished picture, 0..3.
        gateway: the service: a name in the catalog, with the address and deployment that the user
            gave, if any; part of the fingerprint.
        repeat_index: 0; or 1, 2, ... to get a new answer to the same request. Never sent.
        extra: further fields, as (name, value) pairs, sent unchanged.
        optional: names of fields that may be left out, with a notice, if the model or service
            refuses them. Any other refused field is an error.
    """

    model: str
    prompt: str
    size: str | None = None
    quality: str | None = None
    complexity: str | None = None
    background: str | None = None
    output_format: str | None = None
    output_compression: int | None = None
    moderation: str | None = None
    n: int = 1
    stream: bool = False
    partial_images: int | None = None
    safety_identifier: str | None = None
    gateway: str = "openai"
    repeat_index: int = 0
    extra: tuple[tuple[str, Scalar], ...] = ()
    optional: frozenset[str] = frozenset()

    @property
    def kind(self) -> str:
        """The kind of request: "generate" or "edit"."""
        return "generate"

    def files(self) -> tuple[tuple[str, ImageFile], ...]:
        """One pair (field name, file) for every picture that is sent."""
        return ()

    def fields(self) -> dict[str, Scalar]:
        """The fields that are set, by their name in the Images API, without the pictures."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NOT_SENT}
        if self.n == 1:
            del values["n"]
        if not self.stream:
            del values["stream"]
        return {name: value for name, value in values.items() if value is not None} | dict(
            self.extra
        )

    def describe(self) -> dict[str, object]:
        """The request as a JSON object: gateway, fields, and each picture as its SHA-256."""
        return {
            "kind": self.kind,
            "gateway": self.gateway,
            "repeat_index": self.repeat_index,
            "fields": self.fields(),
            "files": [[name, file.sha256] for name, file in self.files()],
        }

    def fingerprint(self) -> str:
        """The SHA-256, in hexadecimal, of the whole request, including pictures and gateway."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        text = json.dumps(self.describe(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class EditRequest(GenerateRequest):
    """A request for pictures made from given pictures and text.

    Attributes:
        images: 1..16 pictures; mask and markup belong to the first.
        mask: PNG of the first picture's size; the model may change pixels whose alpha is 0.
        markup: transparent PNG of the first picture's size with arrows or circles drawn on it.
    """

    images: tuple[ImageFile, ...] = ()
    mask: ImageFile | None = None
    markup: ImageFile | None = None
    input_fidelity: str | None = None

    @property
    def kind(self) -> str:
        return "edit"

    def files(self) -> tuple[tuple[str, ImageFile], ...]:
        guides = (("mask", self.mask), ("markup", self.markup))
        return tuple(("image", image) for image in self.images) + tuple(
            (name, file) for name, file in guides if file is not None
        )


Request = GenerateRequest | EditRequest
_NOT_SENT = {"gateway", "repeat_index", "extra", "optional", "images", "mask", "markup"}


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts from the service. Tokens not declared as text count as image tokens."""

    input_text: int = 0
    input_image: int = 0
    output_text: int = 0
    output_image: int = 0


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """One returned picture: the bytes of its file, its media type, and its size in pixels.

    Type and size are read from the bytes. `photo` is the decoded picture, None if it is not in
    memory.
    """

    data: bytes = field(repr=False)
    media_type: str
    width: int
    height: int
    photo: "Photo | None" = field(default=None, repr=False, compare=False)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    def decoded(self) -> "Photo":
        """The decoded picture: `photo`, or else decoded now. Raises ImageReadError."""
        from verax import image as images

        return self.photo or images.decode(self.data, name="generated")


@dataclass(frozen=True, slots=True)
class ImagesAnswer:
    """The answer of a service.

    Attributes:
        usage: token counts, None if the service states none.
        model, size, quality: what the service says it used, "" if it says nothing.
        billed_usd: the price in US dollars that the service states, None if it states none.
        request_id: the service's id of the call, "" if it gives none.
        raw: body of the answer, byte for byte: JSON or an event stream, pictures included.
        retries: number of attempts that failed before this answer.
        notices: sentences for the user about differences between request and answer.
        lost: those of the notices that are about pictures that cannot be read or downloaded.
        cost_usd: the bill in US dollars according to the journal, None if unknown.
        counted_usd: US dollars that count towards the cost limit: the bill, or the most that
            the call can cost if the bill is unknown.
    """

    images: tuple[GeneratedImage, ...]
    usage: Usage | None = None
    model: str = ""
    size: str = ""
    quality: str = ""
    billed_usd: float | None = None
    request_id: str = ""
    raw: bytes = field(default=b"", repr=False)
    retries: int = 0
    notices: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    cost_usd: float | None = None
    counted_usd: float = 0.0

    @property
    def decoded_pixels(self) -> int:
        """Number of pixels of all pictures that are decoded in memory."""
        photos = [image.photo for image in self.images if image.photo is not None]
        return sum(photo.width * photo.height for photo in photos)

    def without_pixels(self) -> "ImagesAnswer":
        """A copy without the decoded pixels; its pictures are decoded again when needed."""
        return replace(self, images=tuple(replace(image, photo=None) for image in self.images))


class Keep(Protocol):
    """Stores a paid answer before it is parsed."""

    def __call__(self, body: bytes, /) -> None:
        """Store the body of a successful answer."""

    def picture(self, link: str, fetch: Callable[[str], bytes], /) -> bytes:
        """The bytes of the picture at `link`: stored ones, or else loaded by `fetch` and stored."""


class Send(Protocol):
    """Sends a request and returns the answer; repeats an attempt only if it cannot be billed.

    `keep` stores the body of a successful answer before the body is parsed. Raises
    ProviderRejected or ProviderBusy if nothing was started or billed, ProviderRefused if moderation
    refused the request, ProviderUncertain if the call may have been billed, and ProviderError if
    the stored answer has no usable picture.
    """

    def __call__(self, request: Request, keep: Keep, /) -> ImagesAnswer: ...
