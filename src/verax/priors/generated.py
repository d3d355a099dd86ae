"""Get a prior, a generated picture of the photo's scene, from an image service (provider).

`plan` resizes the photo to a canvas (a size that the model accepts) and makes the request, without
sending anything. `receive` makes the prior from the service's answer. `ask` does both, with one
paid call in between. The photo is sent as a PNG made from its pixels alone, so no metadata and no
GPS position leaves the machine; transparent parts become white.
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
from verax.priors import resize
from verax.providers import EditRequest, ImageFile, ImagesAnswer
from verax.providers.images_api import Client
from verax.providers.journal import Desk
from verax.restorers.faults import estimate

DEFAULT_MODEL = "gpt-image-2.6-sunburst"
SAME_RATIO = 0.01  # largest relative difference of aspect ratio between an answer and its canvas
JudgeTask = Callable[[Image], str]  # a picture -> the task it needs


@dataclass(frozen=True, slots=True)
class PriorOptions:
    """The user's choices for a request; None and "" leave a choice to Verax or to the service.

    The fields that are not explained here are parameters of the image service with the same name.

    Attributes:
        prompt: the user's own words, sent instead of Verax's prompt for the task.
        task: what to do, one of Verax's prompts such as "dehaze"; "auto": estimated from the photo.
        wording: how the prompt asks to keep the photo's content, such as "default" or "strict".
        n: number of pictures to request.
        repeat_index: 0, or a higher number to get a new answer to a request made before.
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
        """The fields that are not None, by name, except model, prompt, task and wording."""
        own = {"model", "prompt", "task", "wording"}
        return {k: v for k, v in asdict(self).items() if k not in own and v is not None}


@dataclass(frozen=True, slots=True)
class Draft:
    """A request that is ready to be sent.

    Attributes:
        request: what is sent to the service, checked.
        canvas: the photo's place in the picture that is sent, needed to map the answer back.
        prompt_name: task, wording and version of the prompt; "own" for the user's own words.
        notices: sentences for the user, such as about choices that the model does not support.
    """

    request: EditRequest
    canvas: Canvas
    prompt_name: str
    notices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GeneratedPrior:
    """A prior that a service generated, and its origin.

    Attributes:
        pixels: (H, W, 3), on the photo's grid. If the received picture has other proportions than
            the picture that was sent, it is stored unchanged and not yet on the photo's grid.
        data: the file as received, with its Content Credentials if it has any.
        draft: the request that was sent.
        answer: the whole answer of the service.
        notices: sentences for the user, such as that a choice was not supported.
    """

    pixels: Image
    data: bytes = field(repr=False)
    draft: Draft
    answer: ImagesAnswer
    notices: tuple[str, ...]


def plan(
    photo: Photo,
    client: Client,
    choices: PriorOptions | None = None,
    *,
    mask: Plane | None = None,
    markup: Photo | None = None,
    references: tuple[Photo, ...] = (),
    judge: JudgeTask = estimate,
) -> Draft:
    """Make the request for a prior of this photo. Sends nothing and costs nothing.

    Args:
        client: the image service, which checks the request.
        choices: the user's choices; None: the defaults.
        mask: (H, W) on the photo's grid, 1 where the service should edit, else 0; None: everywhere.
        markup: picture of the photo's size with arrows or circles on a transparent background.
        references: further pictures for the service to look at, sent in their own size.
        judge: function that estimates the task, such as "dehaze", if `choices` leave it open.

    Raises InputError for anything that the model or the service would refuse.
    """
    choices = choices or PriorOptions()
    model = client.model(choices.model)
    canvas = canvases.plan(photo.width, photo.height, model.sizes)
    text, name = _prompt(photo, choices, judge)
    fields = choices.fields()
    defaults = {k: v for k, v in _defaults(model).items() if k not in fields}
    request = EditRequest(
        model=choices.model,
        prompt=text,
        images=(picture_file(flat(photo), canvas), *(_reference(one) for one in references)),
        mask=None if mask is None else mask_file(mask, canvas),
        markup=None if markup is None else markup_file(markup, canvas),
        size=f"{canvas.size[0]}x{canvas.size[1]}",
        optional=frozenset(defaults),
        **(defaults | fields),
    )
    prepared, notices = client.prepare(request)
    return Draft(prepared, canvas, name, notices)


def receive(draft: Draft, answer: ImagesAnswer, *, index: int = 0) -> GeneratedPrior:
    """Take picture `index` (from 0) of a service's answer, and map it to the photo's pixel grid.

    A picture with other proportions than the picture that was sent is kept unchanged, and a notice
    says so.
    """
    generated = answer.images[index]
    picture = generated.decode()
    pixels = flat(picture)
    notices = [*draft.notices, *answer.notices]
    width, height = draft.canvas.size
    if abs(generated.width * height / (generated.height * width) - 1) <= SAME_RATIO:
        pixels = canvases.retrieve(pixels, draft.canvas)
    else:
        notices.append(
            f"the service answered with {generated.width}x{generated.height} instead of "
            f"{width}x{height}, other proportions than requested; it must be registered"
        )
    return GeneratedPrior(pixels, generated.data, draft, answer, tuple(notices))


def on_grid(prior: GeneratedPrior, photo: Photo) -> GeneratedPrior:
    """A copy of the prior whose pixels are on the photo's grid.

    A prior that is not on it yet is registered to the photo. If that is not possible, it is scaled
    to cover the photo, and cropped.
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
    how = "registered to the photo" if exact else "scaled to cover the photo, and cropped"
    note = f"the generated picture was {how}"
    return replace(prior, pixels=covered, notices=(*prior.notices, note))


def _covering(pixels: Image, size: tuple[int, int]) -> Image:
    """Crop a picture around its centre to the proportions of `size` (width, height), then resize
    it to this size."""
    height, width = pixels.shape[:2]
    scale = min(width / size[0], height / size[1])
    w, h = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    left, top = (width - w) // 2, (height - h) // 2
    return resize(pixels[top : top + h, left : left + w], size)


def ask(
    photo: Photo, desk: Desk, choices: PriorOptions | None = None, *, mask: Plane | None = None
) -> GeneratedPrior:
    """Get a prior of this photo from a service.

    `desk` makes the paid call within its cost limit, and stores the answer, so that the same
    request is never paid twice. The first picture of the answer is taken. Without `choices`, the
    defaults are used. `mask` (H, W) is 1 where the service should edit, else 0; None: everywhere.
    """
    draft = plan(photo, desk.client, choices, mask=mask)
    return receive(draft, desk.call(draft.request))


def flat(photo: Photo) -> Image:
    """The photo's pixels (H, W, 3), blended with white where the photo is transparent."""
    if photo.alpha is None:
        return photo.pixels
    alpha = photo.alpha[:, :, None]
    return np.asarray(np.clip(photo.pixels * alpha + (1 - alpha), 0, 1), np.float32)


def picture_file(pixels: Image, canvas: Canvas) -> ImageFile:
    """The photo's pixels as a PNG without metadata, resized and padded as `canvas` says."""
    return ImageFile(images.encode(canvases.place(pixels, canvas), format="png"), "photo.png")


def mask_file(mask: Plane, canvas: Canvas) -> ImageFile:
    """A PNG file of a mask (H, W), resized and padded like the photo, as `canvas` says.

    The file is transparent where the mask is 1 (edit), opaque elsewhere. Raises SizeMismatchError
    if the mask does not have the photo's size.
    """
    _on_grid("mask", mask.shape[1], mask.shape[0], canvas)
    placed = canvases.place(np.repeat(mask[:, :, None], 3, axis=2), canvas)[:, :, 0]
    alpha = np.where(placed >= 0.5, 0, 255).astype(np.uint8)
    return ImageFile(_png(np.dstack([np.zeros((*alpha.shape, 3), np.uint8), alpha])), "mask.png")


def markup_file(markup: Photo, canvas: Canvas) -> ImageFile:
    """A PNG file of arrows and circles on a transparent layer, resized as `canvas` says.

    Raises InputError for a picture without alpha, SizeMismatchError for one whose size is not that
    of the photo.
    """
    if markup.alpha is None:
        raise InputError(
            "--markup: expected a PNG with a transparent background, got a picture without "
            "transparency; draw arrows or circles on an empty layer of the photo's size"
        )
    _on_grid("markup", markup.width, markup.height, canvas)
    colour = canvases.place(markup.pixels, canvas)
    placed = canvases.place(np.repeat(markup.alpha[:, :, None], 3, axis=2), canvas)[:, :, 0]
    left, top = canvas.offset
    inside = np.zeros_like(placed)  # otherwise the padding would show mirrored arrows
    inside[top : top + canvas.inner[1], left : left + canvas.inner[0]] = 1
    return ImageFile(_png(images.to_uint8(np.dstack([colour, placed * inside]))), "markup.png")


def mask_plane(picture: Photo) -> Plane:
    """The mask (H, W) that a picture stands for: 1 where the service should edit.

    That is 1 - alpha, or, if the picture has no alpha channel, the mean of R, G and B (white: 1).
    """
    if picture.alpha is not None:
        return np.asarray(1 - picture.alpha, np.float32)
    return np.asarray(picture.pixels.mean(axis=2), np.float32)


def _prompt(photo: Photo, choices: PriorOptions, judge: JudgeTask) -> tuple[str, str]:
    if choices.prompt:
        return choices.prompt, "own"
    task = judge(photo.pixels) if choices.task == "auto" else choices.task
    prompt = task_prompt(task, fidelity=choices.wording)
    return prompt.text, prompt.name


def _defaults(model: Model) -> dict[str, Any]:
    """The values, by name, of request parameters that Verax sets if the user leaves them open."""
    quality = {"quality": model.default_quality} if model.default_quality else {}
    return {"output_format": "png", "background": "opaque"} | quality


def _reference(photo: Photo) -> ImageFile:
    return ImageFile(images.encode(flat(photo), format="png"), "reference.png")


def _on_grid(what: str, width: int, height: int, canvas: Canvas) -> None:
    if (width, height) != canvas.photo:
        raise SizeMismatchError(
            f"--{what}: expected a picture of the photo's size {canvas.photo[0]}x"
            f"{canvas.photo[1]}, got {width}x{height}; draw it on a copy of the photo"
        )


def _png(levels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    PillowImage.fromarray(levels).save(buffer, "PNG")
    return buffer.getvalue()
