"""Makes the server's paid calls, through the journal and with a budget for each client.

A model named "verax/NAME" makes a prior for a restoration; the answer of a model named "NAME" is
passed on unchanged. Calls run in threads. To save memory, only one thread at a time decodes a
photo, and no decoded photo stays in memory while a call waits for the service.
"""

import pickle
import threading
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from verax import image as images
from verax.making import OpenedPicture, open_picture
from verax.priors import generated
from verax.providers import GenerateRequest, ImagesAnswer, Request, Usage
from verax.providers.budget import Tariff
from verax.providers.images_api import Client
from verax.providers.journal import Desk, open_desk
from verax.providers.records import RunCost
from verax.server.access import Account
from verax.server.api.calls import ImageCall
from verax.settings import Settings

FAITHFUL = "verax/"
RUN = "serve:"  # with the client's name: the run in the journal that the client's calls belong to
LOCAL = "verax/local"
OPENED = "photo.opened"  # file with the decoded photo in the folder of a call
EDIT_FIELDS = ("quality", "complexity", "background", "moderation", "input_fidelity",
               "safety_identifier")  # fmt: skip
TEXT_FIELDS = (*EDIT_FIELDS[:4], "safety_identifier", "output_format", "output_compression", "size")


@dataclass(frozen=True, slots=True)
class UpstreamAnswer:
    """The pictures that a paid service returned, and what is known about the call.

    Attributes:
        files: the pictures; priors are resized to the photo's size, or left as they are if the
            service returned other proportions than those of the picture that was sent.
        sources: the same pictures in the same order, as the service sent them, with their
            Content Credentials.
        usage: token counts in OpenAI's form, None if unknown.
        cost_usd: cost of the call in US dollars, None if unknown.
        model: the model that the service used; "verax/local" if no service was called.
        size: "WIDTHxHEIGHT" of the first picture as the service sent it; "" without a call.
        notices: sentences for the user.
        request_id: the service's id of the call, "" without one.
    """

    files: tuple[Path, ...]
    sources: tuple[Path, ...]
    usage: dict[str, Any] | None
    cost_usd: float | None
    model: str
    size: str
    notices: tuple[str, ...]
    request_id: str = ""


@dataclass(frozen=True)
class Upstream:
    """One paid service, with the journal that stores its answers so that none is paid for twice.

    Attributes:
        desk: makes the calls and keeps the journal.
        decoding: lock that is held while a photo is decoded.
    """

    desk: Desk
    decoding: threading.Lock = field(default_factory=threading.Lock)

    @property
    def settings(self) -> Settings:
        return self.desk.settings

    @property
    def service(self) -> Client:
        return self.desk.client

    @property
    def tariff(self) -> Tariff:
        return self.desk.budget.tariff

    def close(self) -> None:
        self.desk.close()

    def cost(self) -> RunCost:
        """The cost of all calls in the journal that were made for clients, all clients together."""
        return self.desk.journal.records.cost_by_prefix(RUN)

    def models(self, today: date) -> dict[str, date | None]:
        """The names of all models that are not shut down on the day `today`; for each its shutdown
        date, or None if no date is known."""
        known = self.service.known.items()
        return {name: model.ends for name, model in known if not model.has_ended(today)}

    def edit(self, client: Account, call: ImageCall, folder: Path) -> UpstreamAnswer:
        """Make the paid call for an edit, and write the pictures to files in `folder`: for a
        restoration both as the service sent them and resized to the photo's size."""
        with self.decoding:
            draft = self._plan(call, folder)
        answer = self._pay(client, draft.request)
        sources = write_pictures(answer, folder)
        files = sources
        if call.model.startswith(FAITHFUL):
            files = tuple(folder / f"prior-{index}.png" for index in range(len(sources)))
            for index, path in enumerate(files):
                with self.decoding:
                    images.write(path, generated.receive(draft, answer, index=index).pixels)
        return self._describe(draft.request, answer, files, sources, draft.notices)

    def _plan(self, call: ImageCall, folder: Path) -> generated.Draft:
        """The prepared request for an edit, and what is needed to resize the answer to the photo's
        size. Also writes the decoded photo to `folder` if the photo will be restored."""
        photo = open_picture(call.images[0], name="the photo")
        others = tuple(images.read(path) for path in call.images[1:])
        if call.model.startswith(FAITHFUL):
            write_opened(folder, photo)
        choices = generated.PriorOptions(
            model=call.model.removeprefix(FAITHFUL),
            prompt=call.prompt,
            n=call.fields.get("n", 1),
            **{k: call.fields[k] for k in EDIT_FIELDS if k in call.fields},
        )
        mask = generated.mask_plane(images.read(call.mask)) if call.mask else None
        draft = generated.plan(photo.photo, self.service, choices, mask=mask, references=others)
        size = call.fields.get("size", "auto")
        if not call.model.startswith(FAITHFUL) and size != "auto":
            prepared, notices = self.service.prepare(replace(draft.request, size=size))
            draft = replace(draft, request=prepared, notices=notices)
        return draft

    def generate(self, client: Account, call: ImageCall, folder: Path) -> UpstreamAnswer:
        """Make the paid call for a generation from a prompt, and write the pictures to files in
        `folder`."""
        request = GenerateRequest(
            model=call.model.removeprefix(FAITHFUL),
            prompt=call.prompt,
            n=call.fields.get("n", 1),
            **{k: call.fields[k] for k in TEXT_FIELDS if k in call.fields},
        )
        prepared, notices = self.service.prepare(request)
        answer = self._pay(client, prepared)
        files = write_pictures(answer, folder)
        return self._describe(prepared, answer, files, files, notices)

    def _pay(self, client: Account, request: Request) -> ImagesAnswer:
        """The answer to a request, from the journal if that has it. If not, the call is made and
        paid from the client's budget. To save memory, an answer with several pictures holds only
        their files, not their decoded pixels."""
        answer = self.desk.with_limit(f"{RUN}{client.name}", client.budget_usd).call(request)
        return answer if len(answer.images) == 1 else answer.without_pixels()

    def _describe(
        self,
        request: Request,
        answer: ImagesAnswer,
        files: tuple[Path, ...],
        sources: tuple[Path, ...],
        notices: tuple[str, ...],
    ) -> UpstreamAnswer:
        first = answer.images[0]
        usage = answer.usage if answer.cost_usd is not None else None
        return UpstreamAnswer(
            files,
            sources,
            usage_json(usage) if usage else None,
            answer.cost_usd,
            answer.model or request.model,
            f"{first.width}x{first.height}",
            (*notices, *answer.notices),
            answer.request_id,
        )


def write_pictures(answer: ImagesAnswer, folder: Path) -> tuple[Path, ...]:
    """Write the pictures of an answer, byte for byte, to the files "answer-0", "answer-1" and so on
    in `folder`. Returns the files."""
    files = tuple(folder / f"answer-{index}" for index in range(len(answer.images)))
    for path, picture in zip(files, answer.images, strict=True):
        path.write_bytes(picture.data)
    return files


def write_opened(folder: Path, photo: OpenedPicture) -> None:
    """Write a decoded photo to disk for the worker that will restore it, since reading it is far
    faster than decoding the photo again."""
    with (folder / OPENED).open("wb") as file:
        pickle.dump(photo, file, protocol=5)


def read_opened(folder: Path) -> OpenedPicture | None:
    """The decoded photo that `write_opened` wrote to `folder`; None if there is none."""
    try:
        with (folder / OPENED).open("rb") as file:
            photo: OpenedPicture = pickle.load(
                file
            )  # safe: written by this server, in a private folder
    except FileNotFoundError:
        return None
    return photo


def open_upstream(settings: Settings) -> Upstream:
    """The paid service that the settings name, with its journal. Opens no connection yet."""
    return Upstream(open_desk(settings))


def usage_json(usage: Usage) -> dict[str, Any]:
    """The token counts as OpenAI's object "usage"."""
    text_in, image_in = usage.input_text, usage.input_image
    text_out, image_out = usage.output_text, usage.output_image
    return {
        "input_tokens": text_in + image_in,
        "output_tokens": text_out + image_out,
        "total_tokens": text_in + image_in + text_out + image_out,
        "input_tokens_details": {"text_tokens": text_in, "image_tokens": image_in},
        "output_tokens_details": {"text_tokens": text_out, "image_tokens": image_out},
    }
