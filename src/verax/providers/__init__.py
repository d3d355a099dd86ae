"""Image services. Here: requests and answers, in the terms of the Images API.

A request is a value: the same bytes and parameters have the same fingerprint, on which cache and
journal are keyed. `verax.providers.dialects` writes a request for one service;
`verax.providers.rules` says whether a model accepts it.
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
    """A picture to send: file bytes, a file name for the form, a media type such as "image/png"."""

    data: bytes = field(repr=False)
    name: str = "image.png"
    media_type: str = "image/png"

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """A request for a picture from text alone. Fields that are None are left to the service.

    Attributes:
        model: the model's full name; "" is never sent.
        size: "WIDTHxHEIGHT" in pixels, or "auto".
        n: number of pictures requested, 1..10.
        partial_images: previews while streaming, 0..3.
        gateway: the service, a name of the catalog or a base URL; part of the fingerprint.
        repeat_index: 0, 1, 2 ... for a new answer to the same request; never sent.
        extra: further fields for one backend, as (name, value), sent as they are.
        optional: names of fields that may be dropped with a notice where a model or service
            refuses them; a refused field that is not optional is an error.
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
        """ "generate" or "edit"."""
        return "generate"

    def files(self) -> tuple[tuple[str, ImageFile], ...]:
        """(field name, file) of every picture that is sent."""
        return ()

    def fields(self) -> dict[str, Scalar]:
        """Every field that is set, under its name in the Images API, without the pictures."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NOT_SENT}
        if self.n == 1:
            del values["n"]
        if not self.stream:
            del values["stream"]
        return {name: value for name, value in values.items() if value is not None} | dict(
            self.extra
        )

    def describe(self) -> dict[str, object]:
        """The whole request as JSON, each picture as its SHA-256; without secrets."""
        return {
            "kind": self.kind,
            "gateway": self.gateway,
            "repeat_index": self.repeat_index,
            "fields": self.fields(),
            "files": [[name, file.sha256] for name, file in self.files()],
        }

    def fingerprint(self) -> str:
        """SHA-256 over exact input bytes, gateway, model, every parameter, repeat index."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        text = json.dumps(self.describe(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class EditRequest(GenerateRequest):
    """A request for a picture from pictures and text.

    Attributes:
        images: 1..16 pictures; mask and markup belong to the first.
        mask: PNG of the first picture's size, alpha 0 = edit here.
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
    """Token counts from the service. Counts that it does not split by kind are counted as image."""

    input_text: int = 0
    input_image: int = 0
    output_text: int = 0
    output_image: int = 0


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """One returned picture: file bytes, media type, and the real size read from the bytes.

    `photo` is the decoded picture, None if it is no longer held in memory.
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
        """The picture with its pixels, decoded at most once. Raises ImageReadError."""
        from verax import image as images

        return self.photo or images.decode(self.data, name="generated")


@dataclass(frozen=True, slots=True)
class ImagesAnswer:
    """The answer of a service.

    Attributes:
        usage: None where the service gives none.
        model, size, quality: what the service says it used, "" where it says nothing.
        billed_usd: the price as stated by a gateway, None if it states none.
        request_id: the service's id of the call, "" without one.
        raw: body of the answer as JSON, pictures inside; a stream is assembled into one.
        retries: how often the call was repeated before this answer.
        notices: what was dropped, converted, or differs from the request, in words.
        lost: the notices about pictures that could not be read or fetched.
        cost_usd: the bill according to the journal, None if unknown.
        counted_usd: what counts towards the limit: the bill, or its upper bound.
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
        """Number of pixels held decoded in memory."""
        photos = [image.photo for image in self.images if image.photo is not None]
        return sum(photo.width * photo.height for photo in photos)

    def without_pixels(self) -> "ImagesAnswer":
        """The same answer without decoded pixels; its pictures are decoded again when needed."""
        return replace(self, images=tuple(replace(image, photo=None) for image in self.images))


class Keep(Protocol):
    """Stores a paid answer before it is parsed."""

    def __call__(self, body: bytes, /) -> None:
        """Store the body of a successful answer."""

    def picture(self, link: str, fetch: Callable[[str], bytes], /) -> bytes:
        """The stored picture behind a link of the answer; `fetch` downloads it if missing."""


class Send(Protocol):
    """Sends a request once (repeating it only if the service certainly did not start on it).

    `keep` gets the body of a successful answer before anything else is done with it.
    Raises ProviderRejected or ProviderBusy if the service certainly did not start, ProviderRefused,
    ProviderUncertain if the call may have been billed, ProviderError if the answer (which was
    stored) has no usable picture.
    """

    def __call__(self, request: Request, keep: Keep, /) -> ImagesAnswer: ...
