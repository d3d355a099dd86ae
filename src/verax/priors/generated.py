"""A prior from a provider: photo -> canvas -> request -> answer -> prior.

The photo is sent as a PNG made from its pixels alone, so no metadata and no GPS position leaves the
machine; transparent parts are painted white. `plan` creates the request without sending anything,
`receive` reads the answer, `ask` does both with one call in between.
"""

import io
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from verax import image as images
from verax.catalog import prompt as task_prompt
from verax.catalog.models import Model
from verax.errors import InputError, SizeMismatchError
from verax.geometry import canvas as canvases
from verax.geometry.canvas import Canvas
from verax.geometry.register import apply, register
from verax.image import Image, Photo, Plane
from verax.priors import resized
from verax.providers import EditRequest, ImageFile, ImagesAnswer
from verax.providers.images_api import Client
from verax.providers.journal import Desk
from verax.restorers.faults import estimate

DEFAULT_MODEL = "gpt-image-2.6-sunburst"
SAME_RATIO = 0.01  # an answer with about the canvas's aspect ratio is the canvas at another scale
JudgeTask = Callable[[Image], str]  # a picture -> the task it needs


@dataclass(frozen=True, slots=True)
class Wishes:
    """The user's choices for a request; None and "" leave a choice to Verax or the service.

    Attributes:
        prompt: the user's own words; they replace the task's prompt.
        task: a task of the prompt catalog, or "auto".
        wording: name of the fidelity sentence that follows the task's prompt.
        repeat_index: 0, 1, 2 ... to get a new answer to the same request.
    """

    model: str = DEFAULT_MODEL
    prompt: str = ""
    task: str = "auto"
    wording: str = "default"
    quality: str | None = None
    complexity: str | None = None
    background: str | None = None
    output_format: str | None = None
    output_compression: int | None = None
    moderation: str | None = None
    input_fidelity: str | None = None
    safety_identifier: str | None = None
    n: int = 1
    repeat_index: int = 0

    def fields(self) -> dict[str, Any]:
        """The fields that go into a request unchanged."""
        own = {"model", "prompt", "task", "wording"}
        return {k: v for k, v in asdict(self).items() if k not in own and v is not None}


@dataclass(frozen=True, slots=True)
class Asking:
    """A request ready to send, with what is needed to read its answer.

    Attributes:
        prompt_name: task, wording and version of the prompt, or "own".
        notices: choices that were dropped, in words.
    """

    request: EditRequest
    canvas: Canvas
    prompt_name: str
    notices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GeneratedPrior:
    """A prior and its origin.

    Attributes:
        pixels: (H, W, 3) on the photo's grid; at its own size if its shape is not the canvas's, to
            be placed by registration.
        data: the picture's file as received, with its provenance if it has any.
    """

    pixels: Image
    data: bytes = field(repr=False)
    asking: Asking
    answer: ImagesAnswer
    notices: tuple[str, ...]


def plan(
    photo: Photo,
    client: Client,
    wishes: Wishes | None = None,
    *,
    mask: Plane | None = None,
    markup: Photo | None = None,
    references: tuple[Photo, ...] = (),
    judge: JudgeTask = estimate,
) -> Asking:
    """Plan the request for a prior of this photo. Sends nothing, costs nothing.

    Args:
        mask: (H, W), 1 = edit here, on the photo's grid.
        markup: arrows or circles on a transparent ground, on the photo's grid.
        references: further pictures that are sent unchanged.
        judge: estimates the task for "auto".

    Raises InputError for anything that the model or service would refuse.
    """
    wishes = wishes or Wishes()
    model = client.model(wishes.model)
    canvas = canvases.plan(photo.width, photo.height, model.sizes)
    text, name = _prompt(photo, wishes, judge)
    fields = wishes.fields()
    defaults = {k: v for k, v in _defaults(model).items() if k not in fields}
    request = EditRequest(
        model=wishes.model,
        prompt=text,
        images=(picture_file(flat(photo), canvas), *(_reference(one) for one in references)),
        mask=None if mask is None else mask_file(mask, canvas),
        markup=None if markup is None else markup_file(markup, canvas),
        size=f"{canvas.size[0]}x{canvas.size[1]}",
        optional=frozenset(defaults),
        **(defaults | fields),
    )
    prepared, notices = client.prepare(request)
    return Asking(prepared, canvas, name, notices)


def receive(asking: Asking, answer: ImagesAnswer, *, index: int = 0) -> GeneratedPrior:
    """The prior in an answer, moved from the canvas to the photo's grid."""
    generated = answer.images[index]
    picture = generated.decoded()
    pixels = flat(picture)
    notices = [*asking.notices, *answer.notices]
    width, height = asking.canvas.size
    if abs(generated.width * height / (generated.height * width) - 1) <= SAME_RATIO:
        pixels = canvases.retrieve(pixels, asking.canvas)
    else:
        notices.append("the answer has another shape than the canvas; registration must find it")
    return GeneratedPrior(pixels, generated.data, asking, answer, tuple(notices))


def on_grid(prior: GeneratedPrior, photo: Photo) -> GeneratedPrior:
    """The prior on the photo's grid, also if the answer has another shape.

    It is registered to the photo if possible; otherwise scaled to cover it and cropped.
    """
    if prior.pixels.shape == photo.pixels.shape:
        return prior
    size = (photo.width, photo.height)
    covered = _covering(prior.pixels, size)
    registration = register(flat(photo), prior.pixels)
    exact = registration.placed == "exactly"
    if exact:
        warped = apply(registration, prior.pixels, size=size)
        share = warped.valid[:, :, None]
        covered = np.asarray(warped.pixels * share + covered * (1 - share), np.float32)
    how = "registered to the photo" if exact else "scaled to cover the photo, rest cut off"
    return replace(prior, pixels=covered, notices=(*prior.notices, f"the answer was {how}"))


def _covering(pixels: Image, size: tuple[int, int]) -> Image:
    """The picture cropped to the shape of `size` around its centre, at that size."""
    height, width = pixels.shape[:2]
    scale = min(width / size[0], height / size[1])
    w, h = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    left, top = (width - w) // 2, (height - h) // 2
    return resized(pixels[top : top + h, left : left + w], size)


def ask(
    photo: Photo, desk: Desk, wishes: Wishes | None = None, *, mask: Plane | None = None
) -> GeneratedPrior:
    """Plan, call through the desk, receive: paid once, journaled, within the desk's cost limit."""
    asking = plan(photo, desk.client, wishes, mask=mask)
    return receive(asking, desk.call(asking.request))


def flat(photo: Photo) -> Image:
    """The pixels over white where they are transparent, so that hidden colours are not sent."""
    if photo.alpha is None:
        return photo.pixels
    alpha = photo.alpha[:, :, None]
    return np.asarray(np.clip(photo.pixels * alpha + (1 - alpha), 0, 1), np.float32)


def picture_file(pixels: Image, canvas: Canvas) -> ImageFile:
    """The photo on its canvas as PNG, made from pixels alone."""
    return ImageFile(images.encode(canvases.place(pixels, canvas), format="png"), "photo.png")


def mask_file(mask: Plane, canvas: Canvas) -> ImageFile:
    """A mask (1 = edit) on the canvas, as PNG with alpha 0 where to edit.

    Raises SizeMismatchError where the mask is not on the photo's grid.
    """
    _on_grid("mask", mask.shape[1], mask.shape[0], canvas)
    placed = canvases.place(np.repeat(mask[:, :, None], 3, axis=2), canvas)[:, :, 0]
    alpha = np.where(placed >= 0.5, 0, 255).astype(np.uint8)
    return ImageFile(_png(np.dstack([np.zeros((*alpha.shape, 3), np.uint8), alpha])), "mask.png")


def markup_file(markup: Photo, canvas: Canvas) -> ImageFile:
    """Markup (arrows, circles) placed on the canvas, as PNG, transparent elsewhere."""
    if markup.alpha is None:
        raise InputError(
            "markup: expected a PNG with a transparent background, got one without alpha"
        )
    _on_grid("markup", markup.width, markup.height, canvas)
    colour = canvases.place(markup.pixels, canvas)
    placed = canvases.place(np.repeat(markup.alpha[:, :, None], 3, axis=2), canvas)[:, :, 0]
    left, top = canvas.offset
    inside = np.zeros_like(placed)  # otherwise the padding would show mirrored arrows
    inside[top : top + canvas.inner[1], left : left + canvas.inner[0]] = 1
    return ImageFile(_png(images.to_uint8(np.dstack([colour, placed * inside]))), "markup.png")


def mask_plane(picture: Photo) -> Plane:
    """A mask picture as a plane, 1 = edit: where transparent, or white if it has no alpha."""
    if picture.alpha is not None:
        return np.asarray(1 - picture.alpha, np.float32)
    return np.asarray(picture.pixels.mean(axis=2), np.float32)


def _prompt(photo: Photo, wishes: Wishes, judge: JudgeTask) -> tuple[str, str]:
    if wishes.prompt:
        return wishes.prompt, "own"
    task = judge(photo.pixels) if wishes.task == "auto" else wishes.task
    prompt = task_prompt(task, fidelity=wishes.wording)
    return prompt.text, prompt.name


def _defaults(model: Model) -> dict[str, Any]:
    """Verax's defaults for a request; dropped with a notice if the model refuses them."""
    quality = {"quality": model.default_quality} if model.default_quality else {}
    return {"output_format": "png", "background": "opaque"} | quality


def _reference(photo: Photo) -> ImageFile:
    return ImageFile(images.encode(flat(photo), format="png"), "reference.png")


def _on_grid(what: str, width: int, height: int, canvas: Canvas) -> None:
    if (width, height) != canvas.photo:
        raise SizeMismatchError(
            f"{what} is {width}x{height}, the photo {canvas.photo[0]}x{canvas.photo[1]}; "
            "both must have the same size"
        )


def _png(levels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    PillowImage.fromarray(levels).save(buffer, "PNG")
    return buffer.getvalue()
