"""The gateway in front of a paid service, played by the loopback test service."""

import asyncio
import base64

import openai
import pytest

from counting import counting
from verax import image as images
from verax.server.access import ANYBODY, ServerLimits
from verax.server.api.intake import Upload
from verax.server.api.service import ImagesService
from verax.server.api.upstream import open_upstream
from verax.server.queue import WorkQueue, worker_thread
from verax.settings import load

MODEL = "gpt-image-2.6-sunburst"


KEY = {"VERAX_API_KEY": "sk-test-not-a-real-key"}


@pytest.fixture
def service(paid):
    """The paid service; what earlier tests billed is left out of `ledger()`."""
    running = paid[0]
    before = len(running.ledger())
    running.script([])
    running.billed = lambda: len(running.ledger()) - before
    return running


@pytest.fixture
def sdk(paid):
    address = f"{paid[1]}/v1"
    with openai.OpenAI(base_url=address, api_key="any", max_retries=0) as client:
        yield client


def read(answer, index=0):
    return images.decode(base64.b64decode(answer.data[index].b64_json))


def test_a_faithful_edit_answers_in_the_photos_size_and_bills_once(sdk, service, photo):
    done = sdk.images.edit(
        model=f"verax/{MODEL}", image=("p.png", photo), prompt="brighten", size="auto"
    )

    assert (read(done).width, read(done).height) == (150, 100)
    about = done.model_extra["verax"]
    assert about["restorations"][0]["registration"]["reason"]
    assert about["cost_usd"] > 0
    assert done.usage.total_tokens > 0
    assert service.billed() == 1


def test_a_bare_model_is_passed_through(sdk, service, photo):
    done = sdk.images.edit(model=MODEL, image=("p.png", photo), prompt="brighten", size="1024x1024")

    assert (read(done).width, read(done).height) == (1024, 1024)
    assert done.model_extra["verax"]["restorations"] == []


def test_generations_pass_through_with_n(sdk, service):
    done = sdk.images.generate(model=MODEL, prompt="a lighthouse", n=2, size="1024x1024")

    assert [read(done, i).width for i in range(2)] == [1024, 1024]


def test_the_same_request_is_paid_once_and_answered_twice(sdk, service, photo):
    for _ in range(2):
        sdk.images.edit(model=f"verax/{MODEL}", image=("p.png", photo), prompt="once")

    assert service.billed() == 1


def test_a_refusal_comes_through_with_its_stage(sdk, service, photo):
    service.script(["refuse:output"])

    with pytest.raises(openai.BadRequestError) as caught:
        sdk.images.edit(model=f"verax/{MODEL}", image=("p.png", photo), prompt="what is refused")

    assert caught.value.code == "moderation_blocked"
    assert caught.value.body["moderation_details"]["moderation_stage"] == "output"


def test_generations_stream_under_their_official_name(sdk, service):
    events = list(sdk.images.generate(model=MODEL, prompt="a lighthouse", stream=True))

    assert [event.type for event in events] == ["image_generation.completed"]


def test_the_gateway_reads_decodes_and_hashes_a_paid_photo_and_its_answer_once(
    service, tmp_path, photo
):
    """All queues run in threads here, so that everything is counted; the worker is a process."""
    settings = load({"VERAX_HOME": str(tmp_path), "VERAX_BASE_URL": service.base_url, **KEY})
    file = tmp_path / "image-0"
    file.write_bytes(photo)
    upload = Upload("edit", {"model": f"verax/{MODEL}", "prompt": "count"}, {"image": (file,)})

    async def edit():
        queues = [WorkQueue(worker_thread, 1, 4) for _ in range(4)]
        images_service = ImagesService(ServerLimits(), *queues, lambda: open_upstream(settings))
        call = await images_service.read(ANYBODY, upload)
        answer = await images_service.answer(ANYBODY, call, tmp_path)
        await images_service.close()
        return answer

    with counting() as counts:
        answer = asyncio.run(edit())

    (record,) = answer.about["verax"]["restorations"]
    assert record["prior"] == "used"
    assert counts.decode((tmp_path / "answer-0").read_bytes()) == 1
    assert counts.decode(photo) == 1
    assert counts.opened[str(file)] == 2  # by the intake process, and where it is decoded
    assert (counts.hashed(), counts.calls["fingerprint"]) == ([1], 1)
