"""Requests to image services and their answers, with the fields of OpenAI's Images API.

Two requests with the same pictures and parameters have the same fingerprint, by which the journal,
the database of paid calls, finds a stored answer. `verax.providers.rules` says whether a model
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
    """A request for pictures made from text alone, with the fields of OpenAI's Images API.

    A field that is None is not sent; the service then chooses its value.

    Attributes:
        model: the model's full name, such as "gpt-image-2.5".
        prompt: the text that says what the pictures should show.
        size: "WIDTHxHEIGHT" in pixels, or "auto".
        quality: such as "low", "high" or "auto"; the choices depend on the model.
        complexity: "low", "medium" or "high"; only some models have it.
        background: "transparent", "opaque" or "auto".
        output_format: "png", "jpeg" or "webp".
        output_compression: quality of a JPEG or WebP file, 0..100.
        moderation: how strictly the service checks the content: "auto" or "low".
        n: number of pictures requested, 1..10.
        stream: whether the service sends the answer in parts while it works.
        partial_images: number of previews in a streamed answer, 0..3.
        safety_identifier: a name for the end user, by which the service can trace misuse.
        gateway: name of the service in Verax's catalog, followed by the address and the deployment
            if the user gave them. It is not sent, but is part of the fingerprint.
        repeat_index: usually 0. The same request with 1, 2, ... has another fingerprint, so it is
            sent again and gets a new answer. The number itself is not sent.
        extra: further fields, as (name, value) pairs, sent unchanged.
        optional: names of fields that may be left out, with a notice to the user, if the model or
            service refuses them. Any other refused field is an error.
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
        """One pair (field name, file) for every picture that is sent. The name is "image", "mask"
        or "markup"; a request made from text alone gives ()."""
        return ()

    def fields(self) -> dict[str, Scalar]:
        """The fields to send, without the pictures, as a dict: name in the Images API -> value."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NOT_SENT}
        if self.n == 1:
            del values["n"]
        if not self.stream:
            del values["stream"]
        return {name: value for name, value in values.items() if value is not None} | dict(
            self.extra
        )

    def describe(self) -> dict[str, object]:
        """The request as a dict for JSON: "kind", "gateway", "repeat_index", the "fields" to send,
        and "files", a list of [field name, SHA-256] for the pictures."""
        return {
            "kind": self.kind,
            "gateway": self.gateway,
            "repeat_index": self.repeat_index,
            "fields": self.fields(),
            "files": [[name, file.sha256] for name, file in self.files()],
        }

    def fingerprint(self) -> str:
        """The SHA-256, in hexadecimal, of what `describe` returns: service, fields, pictures and
        `repeat_index`, but not `optional`."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        text = json.dumps(self.describe(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class EditRequest(GenerateRequest):
    """A request for pictures made from given pictures and text. It also has all fields of
    `GenerateRequest`.

    Attributes:
        images: 1..16 pictures; `mask` and `markup` apply to the first.
        mask: PNG of the first picture's size; the model may change pixels whose alpha is 0.
        markup: transparent PNG of the first picture's size; arrows or circles drawn on it show the
            model where to change the picture.
        input_fidelity: how closely the service keeps the details of `images`: "low" or "high".
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
    """Numbers of tokens that a call sent (input) and got (output), as the service counts them.
    Tokens that the service does not list as text tokens are counted as image tokens."""

    input_text: int = 0
    input_image: int = 0
    output_text: int = 0
    output_image: int = 0


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """A picture that a service returned: the bytes of its file, its media type, and its size in
    pixels.

    Type and size are read from the bytes. `photo` is the decoded picture, or None if only the bytes
    are kept in memory.
    """

    data: bytes = field(repr=False)
    media_type: str
    width: int
    height: int
    photo: "Photo | None" = field(default=None, repr=False, compare=False)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    def decode(self) -> "Photo":
        """The decoded picture: `photo` if it is set, otherwise `data` is decoded now. Raises
        ImageReadError if `data` cannot be decoded."""
        from verax import image as images

        return self.photo or images.decode(self.data, name="generated")


@dataclass(frozen=True, slots=True)
class ImagesAnswer:
    """The answer of a service to one call.

    Attributes:
        images: the pictures that can be read.
        usage: token counts, None if the service states none.
        model, size, quality: what the service says it used, "" if it says nothing.
        billed_usd: the price in US dollars that the service states, None if it states none.
        request_id: the service's id of the call, "" if it gives none.
        raw: body of the answer, byte for byte: JSON or an event stream, pictures included.
        retries: how many attempts to send the request failed before this answer came.
        notices: sentences for the user, for example about differences from the request.
        lost: the notices about pictures that cannot be read or downloaded; also in `notices`.
        cost_usd: what the call cost in US dollars: the stated price, or else the price of the
            tokens; None if unknown. Set by the journal, the database of paid calls.
        counted_usd: US dollars that count towards the cost limit: `cost_usd`, or the most that
            the call can cost if `cost_usd` is None. Set by the journal.
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
        """Number of pixels of all pictures of this answer that are decoded in memory."""
        photos = [image.photo for image in self.images if image.photo is not None]
        return sum(photo.width * photo.height for photo in photos)

    def without_pixels(self) -> "ImagesAnswer":
        """A copy without the decoded pixels; its pictures are decoded again when needed."""
        return replace(self, images=tuple(replace(image, photo=None) for image in self.images))


class StoreAnswer(Protocol):
    """Stores the body of a paid answer before it is parsed, and the pictures that it links to."""

    def __call__(self, body: bytes, /) -> None:
        """Store the body of a successful answer."""

    def picture(self, link: str, fetch: Callable[[str], bytes], /) -> bytes:
        """The bytes of the picture at `link`. If they are not stored yet, `fetch` downloads them,
        and they are stored."""


class Send(Protocol):
    """A function `send(request, keep)` that sends a request and returns the answer. It repeats an
    attempt only if the failed attempt cannot be billed.

    `keep` stores the body of a successful answer before the body is parsed. Raises
    ProviderRejected or ProviderBusy if the service did not start the call, which then costs
    nothing, ProviderRefused if moderation refused the request, ProviderUncertain if the call may
    have been billed, and ProviderError if no picture in the answer can be read.
    """

    def __call__(self, request: Request, keep: StoreAnswer, /) -> ImagesAnswer: ...
