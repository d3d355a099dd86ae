"""Paid models behind the server: journaled calls, budgets per client, faithful or passed through.

Runs in threads. One thread at a time decodes photos, and no photo is held decoded while a call
waits for the service: memory does not grow with the number of calls.
"""

import pickle
import threading
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from verax import image as images
from verax.making import Opened, opened
from verax.priors import generated
from verax.providers import GenerateRequest, ImagesAnswer, Request, Usage
from verax.providers.budget import Tariff
from verax.providers.images_api import Client
from verax.providers.journal import Desk, open_desk
from verax.providers.records import Spent
from verax.server.access import Account
from verax.server.api.calls import ImageCall
from verax.settings import Settings

FAITHFUL = "verax/"
RUN = "serve:"  # before the name of a client: the run that its calls count to
LOCAL = "verax/local"
OPENED = "photo.opened"  # in the folder of a call
EDIT_FIELDS = ("quality", "complexity", "background", "moderation", "input_fidelity",
               "safety_identifier")  # fmt: skip
TEXT_FIELDS = (*EDIT_FIELDS[:4], "safety_identifier", "output_format", "output_compression", "size")


@dataclass(frozen=True, slots=True)
class UpstreamAnswer:
    """The pictures of a service, with everything known about the call.

    Attributes:
        files: the returned pictures; of a faithful edit, on the photo's grid.
        sources: the original files of the pictures, with their Content Credentials.
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
    """One paid service with the journal in front of it."""

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

    def spent(self) -> Spent:
        """What the calls for all clients have cost."""
        return self.desk.journal.records.spent_by(RUN)

    def models(self, today: date) -> dict[str, date | None]:
        """The models that have not ended, with their end dates."""
        known = self.service.known.items()
        return {name: model.ends for name, model in known if not model.ended(today)}

    def edit(self, client: Account, call: ImageCall, folder: Path) -> UpstreamAnswer:
        """Request an edit of the first picture; faithful calls use the exact canvas."""
        with self.decoding:
            asking = self._plan(call, folder)
        answer = self._pay(client, asking.request)
        sources = write_pictures(answer, folder)
        files = sources
        if call.model.startswith(FAITHFUL):
            files = tuple(folder / f"prior-{index}.png" for index in range(len(sources)))
            for index, path in enumerate(files):
                with self.decoding:
                    images.write(path, generated.receive(asking, answer, index=index).pixels)
        return self._describe(asking.request, answer, files, sources, asking.notices)

    def _plan(self, call: ImageCall, folder: Path) -> generated.Asking:
        photo = opened(call.images[0], name="the photo")
        others = tuple(images.read(path) for path in call.images[1:])
        if call.model.startswith(FAITHFUL):
            write_opened(folder, photo)
        wishes = generated.Wishes(
            model=call.model.removeprefix(FAITHFUL),
            prompt=call.prompt,
            n=call.fields.get("n", 1),
            **{k: call.fields[k] for k in EDIT_FIELDS if k in call.fields},
        )
        mask = generated.mask_plane(images.read(call.mask)) if call.mask else None
        asking = generated.plan(photo.photo, self.service, wishes, mask=mask, references=others)
        size = call.fields.get("size", "auto")
        if not call.model.startswith(FAITHFUL) and size != "auto":
            prepared, notices = self.service.prepare(replace(asking.request, size=size))
            asking = replace(asking, request=prepared, notices=notices)
        return asking

    def generate(self, client: Account, call: ImageCall, folder: Path) -> UpstreamAnswer:
        """Generate pictures from a prompt."""
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
        """Send the request, or take the stored answer. Only a single picture stays decoded, so that
        many threads need little memory."""
        answer = self.desk.counted_to(f"{RUN}{client.name}", client.budget_usd).call(request)
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
    """The pictures of an answer as files, byte for byte."""
    files = tuple(folder / f"answer-{index}" for index in range(len(answer.images)))
    for path, picture in zip(files, answer.images, strict=True):
        path.write_bytes(picture.data)
    return files


def write_opened(folder: Path, photo: Opened) -> None:
    """Write a decoded photo to disk for the worker that restores it: reading it is far faster than
    decoding again, and no memory is held while the call waits."""
    with (folder / OPENED).open("wb") as file:
        pickle.dump(photo, file, protocol=5)


def read_opened(folder: Path) -> Opened | None:
    """The decoded photo of a call, None where it was not decoded before."""
    try:
        with (folder / OPENED).open("rb") as file:
            photo: Opened = pickle.load(file)  # our own, in a private folder
    except FileNotFoundError:
        return None
    return photo


def open_upstream(settings: Settings) -> Upstream:
    """Connect to the service that the settings name, with its journal. Sends nothing yet."""
    return Upstream(open_desk(settings))


def usage_json(usage: Usage) -> dict[str, Any]:
    """The token counts in OpenAI's shape."""
    text_in, image_in = usage.input_text, usage.input_image
    text_out, image_out = usage.output_text, usage.output_image
    return {
        "input_tokens": text_in + image_in,
        "output_tokens": text_out + image_out,
        "total_tokens": text_in + image_in + text_out + image_out,
        "input_tokens_details": {"text_tokens": text_in, "image_tokens": image_in},
        "output_tokens_details": {"text_tokens": text_out, "image_tokens": image_out},
    }
