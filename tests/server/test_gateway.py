"""The gateway as clients, proxies and whoever looks after it meet it."""

import base64
import json
import threading
import time

import httpx2
import numpy as np
import openai
import pytest

from service.plugin import running_service
from serving import log_of, serving, serving_here
from verax import image as images
from verax.server.access import ClientKeys

MODEL = "gpt-image-2.6-flare"
KEY = {"VERAX_API_KEY": "sk-test-not-a-real-key"}
SITE = "https://app.example"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """The paid service, the gateway in front of it under a path, and its process."""
    home = tmp_path_factory.mktemp("home")
    options = ("--root-path", "/verax", "--cors", SITE)
    with (
        running_service(tmp_path_factory.mktemp("service")) as service,
        serving(home, "--base-url", service.base_url, *options, **KEY) as (address, process),
    ):
        yield service, address, process, home


@pytest.fixture
def service(running):
    running[0].script([])
    return running[0]


@pytest.fixture(scope="module")
def http(running):
    with httpx2.Client(base_url=running[1], timeout=60) as client:
        yield client


def behind(service):
    """The environment of a server in front of a paid service."""
    return {"VERAX_BASE_URL": service.base_url, **KEY}


def edit(http, photo, model=f"verax/{MODEL}", prefix="", **fields):
    fields = {"model": model, "prompt": "brighten", **fields}
    return http.post(f"{prefix}/v1/images/edits", data=fields, files={"image": ("p.png", photo)})


def picture(answer, index=0):
    return images.decode(base64.b64decode(answer["data"][index]["b64_json"]))


@pytest.mark.parametrize("size", ["1024x1024", "1536x1024", "1024x1536", "200x90", "1792x1024"])
@pytest.mark.parametrize("model", ["verax/local", f"verax/{MODEL}"])
def test_a_size_that_a_client_always_sends_is_answered_with_a_warning(http, photo, model, size):
    answer = edit(http, photo, model, size=size).json()
    result = picture(answer)

    assert f"{result.width}x{result.height}" == answer["verax"]["size"] == size
    assert [w for w in answer["verax"]["warnings"] if w.startswith("size: the photo has 150x100")]


@pytest.mark.parametrize("size", ["auto", "150x100"])
def test_the_photos_own_size_needs_no_warning(http, photo, size):
    answer = edit(http, photo, "verax/local", size=size).json()

    assert (picture(answer).width, answer["verax"]["warnings"]) == (150, [])


@pytest.mark.parametrize("size", ["large", "0x0", "8x4000", "20000x20000", "-1x5"])
def test_what_is_no_size_is_an_error_before_anything_is_paid(http, service, photo, size):
    before = len(service.ledger())
    answer = edit(http, photo, size=size)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "size")
    assert len(service.ledger()) == before


def test_fields_that_cannot_be_followed_are_warned_about(http, photo):
    answer = edit(http, photo, "verax/local", n=3, background="transparent", quality="high").json()
    warnings = " ".join(answer["verax"]["warnings"])

    assert len(answer["data"]) == 1
    for name in ("n has no effect", "background: ", "quality has no effect"):
        assert name in warnings


def test_a_sdk_that_always_sends_a_size_works_unchanged(running, photo):
    sdk = openai.OpenAI(base_url=f"{running[1]}/v1", api_key="any", max_retries=0)
    done = sdk.images.edit(
        model=f"verax/{MODEL}", image=("p.png", photo), prompt="x", size="1024x1024"
    )

    assert picture(json.loads(done.model_dump_json())).width == 1024


@pytest.mark.parametrize("step", ["no-usage", "usage:zeros", "usage:null-output"])
def test_usage_that_nobody_knows_is_null_and_never_zero(http, service, photo, step):
    service.script([step])
    answer = edit(http, photo, prompt=step).json()

    assert answer["usage"] is None
    assert answer["verax"]["cost_usd"] is None
    assert [w for w in answer["verax"]["warnings"] if "the most that the call can cost" in w]


def test_a_picture_behind_a_link_comes_through(http, service, photo):
    service.script(["link:relative"])

    assert edit(http, photo, MODEL, prompt="link").json()["data"][0]["b64_json"]


def test_what_may_have_been_billed_is_called_once_whatever_the_client_repeats(http, service, photo):
    service.script(["billed:502"] * 5)
    before = len(service.ledger())
    for _ in range(3):
        answer = edit(http, photo, MODEL, prompt="twice")

        assert answer.json()["error"]["code"] == "upstream_uncertain"
    assert len(service.ledger()) == before + 1


def test_every_answer_and_its_log_line_carry_one_request_id(http, running):
    named = http.get("/healthz", headers={"x-request-id": "mine-1"}).headers["x-request-id"]
    drawn = http.get("/v1/models").headers["x-request-id"]
    odd = http.get("/v1/models/none", headers={"x-request-id": "a b"}).headers["x-request-id"]
    time.sleep(0.2)
    lines = [json.loads(line) for line in log_of(running[2]).splitlines()]

    assert named == "mine-1"
    assert drawn.startswith("req_")
    assert odd.startswith("req_")
    assert {named, drawn, odd} <= {line.get("request_id") for line in lines}


def test_the_upstreams_own_request_id_is_passed_on(http, service, photo):
    assert (
        edit(http, photo, MODEL, prompt="id").json()["verax"]["upstream_request_id"][:4] == "req_"
    )


def test_pages_of_a_named_origin_may_ask_and_others_not(http):
    asking = {"access-control-request-method": "POST"}
    first = http.options("/v1/images/edits", headers={"origin": SITE, **asking})
    ours = http.get("/v1/models", headers={"origin": SITE})
    post = http.post("/v1/images/generations", headers={"origin": SITE}, json={})
    foreign = http.post("/v1/images/generations", headers={"origin": "https://evil.example"})
    hidden = http.get("/v1/models", headers={"origin": "https://evil.example"})

    assert first.status_code == 204
    assert "authorization" in first.headers["access-control-allow-headers"]
    assert ours.headers["access-control-allow-origin"] == SITE
    assert "x-request-id" in ours.headers["access-control-expose-headers"]
    assert post.status_code == 400
    assert foreign.status_code == 403
    assert "access-control-allow-origin" not in hidden.headers


def test_the_server_answers_under_its_path_and_where_a_proxy_strips_it(http, running):
    root = running[1].removesuffix("/verax")
    for place in ("/verax/healthz", "/healthz", "/verax/v1/models", "/verax/", "/verax/page.js"):
        assert httpx2.get(root + place).status_code == 200, place
    page = httpx2.get(f"{root}/verax/").text

    assert running[1].endswith("/verax")
    assert httpx2.get(f"{root}/verax").headers["location"].endswith("/verax/")
    assert 'src="/' not in page
    assert 'href="/' not in page


def test_metrics_tell_money_outcomes_durations_memory_and_restarts(http, service, photo):
    edit(http, photo, MODEL, prompt="metrics")
    metrics = http.get("/metrics").text
    values = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))

    assert float(values['verax_upstream_usd{kind="billed"}']) > 0
    assert float(values['verax_jobs_total{line="upstream",outcome="done"}']) >= 1
    assert float(values['verax_job_seconds_sum{line="upstream"}']) > 0
    assert float(values['verax_memory_bytes{process="server"}']) > 1e7
    assert float(values['verax_memory_bytes{process="workers"}']) > 1e7
    assert float(values['verax_worker_restarts{line="local"}']) >= 0


def test_a_client_that_leaves_ends_the_restoration_it_waited_for(http, running):
    big = images.encode(images.from_uint8(noise(1800, 2400)), format="png")

    def leave():
        with pytest.raises(httpx2.TimeoutException):
            edit(httpx2.Client(base_url=running[1], timeout=1.5), big, "verax/local")

    thread = threading.Thread(target=leave)
    thread.start()
    until = time.monotonic() + 60
    busy = False
    while time.monotonic() < until:
        now = http.get("/healthz").json()["local"]["running"]
        busy = busy or now == 1
        if busy and now == 0 and not thread.is_alive():
            break
        time.sleep(0.05)
    thread.join()
    metrics = http.get("/metrics").text

    assert busy
    assert float(metrics.split('verax_worker_restarts{line="local"} ')[1].split("\n")[0]) >= 1
    assert edit(http, images.encode(images.from_uint8(noise(40, 60)), format="png"),
                "verax/local").status_code == 200  # fmt: skip


def noise(height, width):
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


def test_a_second_server_on_one_home_is_refused_and_the_first_goes_on(http, running, verax_home):
    output = verax_home(running[3], "serve", "--port", "0", expect=2)

    assert "another verax serve uses" in output
    assert http.get("/healthz").status_code == 200


def test_keys_are_listed_with_their_budgets_and_what_they_spent(tmp_path, photo, verax_home):
    key = verax_home(tmp_path, "serve-key", "add", "ada", "--budget", "5")
    verax_home(tmp_path, "serve-key", "add", "bob")
    (tmp_path / "service").mkdir()
    with (
        running_service(tmp_path / "service") as service,
        serving_here(tmp_path, environment=behind(service)) as address,
        httpx2.Client(base_url=address, headers={"authorization": f"Bearer {key}"}) as http,
    ):
        assert edit(http, photo, MODEL).status_code == 200
        bill = service.bill_usd()
    ada, bob = verax_home(tmp_path, "serve-key", "list").splitlines()[1:]

    assert ada.split() == ["ada", "$5.00", f"${bill:.4f}", "$0.0000"]
    assert bob.split() == ["bob", "none", "$0.0000", "$0.0000"]


def test_two_servers_behind_one_balancer_keep_each_clients_budget(tmp_path, photo):
    """Sticky by key, one home each: what docs/server.md says of several machines."""
    names = {"ada": "one", "bob": "two"}
    (tmp_path / "service").mkdir()
    keys = {}
    for name, home in names.items():
        clients = ClientKeys(tmp_path / home / "serve" / "clients.sqlite")
        keys[name] = clients.add(name, budget_usd=0.03)
        clients.close()
    with (
        running_service(tmp_path / "service") as service,
        serving_here(tmp_path / "one", environment=behind(service)) as one,
        serving_here(tmp_path / "two", environment=behind(service)) as two,
    ):
        address = {"ada": one, "bob": two}  # what a balancer that hashes the key would choose
        for name in names:
            headers = {"authorization": f"Bearer {keys[name]}"}
            with httpx2.Client(base_url=address[name], headers=headers, timeout=60) as http:
                answers = [
                    edit(http, photo, MODEL, prompt=f"{name} {index}", quality="low")
                    for index in range(4)
                ]
                again = edit(http, photo, MODEL, prompt=f"{name} 0", quality="low")
            assert answers[0].status_code == again.status_code == 200
            assert answers[-1].json()["error"]["code"] == "insufficient_quota"
        assert service.bill_usd() <= 0.06


def test_any_origin_is_only_for_servers_with_keys(verax_home, tmp_path):
    output = verax_home(tmp_path, "serve", "--port", "0", "--cors", "*", expect=2)

    assert "make keys first" in output
