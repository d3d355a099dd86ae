"""Addresses, keys, proxies, certificates, codings: one line names the variable, or it works."""

import json

import httpx2
import pytest
from recorder import PICTURE, recorder

from asking import KEY, ask, edit
from serving import serving
from verax.errors import InputError, ProviderError, SettingsError
from verax.providers.addresses import parse_address
from verax.providers.budget import Budget, load_tariff
from verax.providers.connections import link_client, service_client
from verax.providers.journal import Journal
from verax.settings import Secret, load, without

CAPITALS = "HTTP://127.0.0.1:80/v1"
FORMS = [
    ("https://Example.COM./v1/", "https://example.com/v1"),
    ("https://example.com:443//v1//", "https://example.com/v1"),
    ("https://example.com/v1/images/edits", "https://example.com/v1"),
    ("https://example.com/v1/images/generations/", "https://example.com/v1"),
    ("https://example.com/v1/chat/completions", "https://example.com/v1"),
    ("https://openrouter.ai/api/v1/images", "https://openrouter.ai/api/v1"),
    ("http://[::1]:8000/v1/", "http://[::1]:8000/v1"),
    (" http://127.0.0.1:9/v1 ", "http://127.0.0.1:9/v1"),
    (CAPITALS, "http://127.0.0.1/v1"),
]


@pytest.mark.parametrize(("given", "one"), FORMS)
def test_every_spelling_of_an_address_is_one(given, one):
    assert str(parse_address(given).url) == one


TARGET = "https://res.openai.azure.com/openai/deployments/my-gpt/images/generations"


def test_a_target_uri_of_azure_names_dialect_deployment_and_version(connected):
    with recorder() as (url, requests):
        here = url.removesuffix("/v1") + "/openai/deployments/my-gpt/images/edits?api-version=9-9"
        client = connected(here, azure="", environ={"AZURE_OPENAI_API_KEY": KEY})
        ask(client, edit())

    assert requests[0].path == "/openai/deployments/my-gpt/images/edits?api-version=9-9"
    assert requests[0].headers["api-key"] == KEY
    assert client.gateway.name == "azure-deployments"


@pytest.mark.parametrize(
    ("url", "gateway", "address"),
    [
        (f"{TARGET}?api-version=2025-04-01-preview", "azure-deployments", "/openai"),
        ("https://res.openai.azure.com/openai/v1/images/edits", "azure", "/openai/v1"),
        ("https://res.openai.azure.com", "azure", "/openai/v1"),
        ("https://res.cognitiveservices.azure.com/openai/v1?api-version=preview", "azure",
         "/openai/v1"),
    ],
)  # fmt: skip
def test_addresses_of_azure_are_known_by_their_host(connected, url, gateway, address):
    client = connected(url)

    assert client.gateway.name == gateway
    assert client.transport.base_url.path == address


@pytest.mark.parametrize(
    "url",
    [
        f"http://127.0.0.1:9/v1?key={KEY}",
        f"http://127.0.0.1:9/v1?api-version=1&code={KEY}",
        f"http://127.0.0.1:9/v1#{KEY}",
        f"http://user:{KEY}@127.0.0.1:9/v1",
        f"http://127.0.0.1:9/v1?api-version={KEY}/",
        KEY,
        "http://127.0.0.1:99999/v1",
    ],
)
def test_an_address_with_a_key_in_it_or_none_is_refused_and_not_repeated(connected, url):
    with pytest.raises(InputError) as caught:
        connected(url)

    assert not parts_of(KEY) & parts_of(str(caught.value))


KEYS = [
    "schlüssel-und-mehr",
    "sk-proj-abc\ndef0123456",
    "sk-proj-abc def0123456",
    "sk-\x00abcdefgh",
]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_no_header_can_carry_is_refused_by_the_name_of_its_variable(connected, key):
    with pytest.raises(SettingsError, match=r"VERAX_API_KEY.*Nothing was sent") as caught:
        connected("http://127.0.0.1:9/v1", environ={"VERAX_API_KEY": key})

    assert not parts_of(key) & parts_of(str(caught.value))


def test_white_space_around_a_key_is_no_part_of_it():
    assert load({"A": f" {KEY}\n", "B": "  "}).key("B", "A").reveal() == KEY
    assert load({"B": " \n"}).key("B") is None


PROXIES = [
    ({"ALL_PROXY": "socks5://127.0.0.1:1"}, "ALL_PROXY: its proxy needs the package socksio"),
    ({"all_proxy": "socks://127.0.0.1:1"}, "all_proxy: expected the address of a proxy"),
    ({"HTTPS_PROXY": "foo://127.0.0.1:1"}, "HTTPS_PROXY: expected the address of a proxy"),
    ({"SSL_CERT_FILE": "/nowhere/at.all"}, "SSL_CERT_FILE: no certificates"),
]


@pytest.mark.parametrize(("environ", "message"), PROXIES, ids=lambda value: str(value)[:24])
def test_surroundings_that_cannot_work_are_named_before_anything_is_sent(
    monkeypatch, environ, message
):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    url = parse_address("https://service.example/v1").url
    with pytest.raises(SettingsError, match=f"{message}.*nothing was sent"):
        service_client(url, timeout_s=1, local_only=False)
    with pytest.raises(SettingsError, match=message):
        link_client(url, private=False, local_only=False)


@pytest.mark.parametrize("environ", [environ for environ, _ in PROXIES], ids=str)
def test_what_an_address_does_not_need_does_not_hinder_it(service, connected, monkeypatch, environ):
    for name, value in {"NO_PROXY": "127.0.0.1", **environ}.items():
        monkeypatch.setenv(name, value)

    assert ask(connected(service.base_url, stream="never"), edit()).images


def test_a_proxy_that_is_not_there_is_named(connected, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    client = connected("https://service.example/v1", retries=0, environ={"VERAX_API_KEY": KEY})
    with pytest.raises(
        ProviderError, match=r"the proxy in the variable HTTPS_PROXY.*nothing was sent"
    ):
        ask(client, edit())


def test_a_prompt_in_latin_1_is_refused_in_one_line(connected, service):
    with pytest.raises(InputError, match="expected text in UTF-8"):
        ask(connected(service.base_url), edit(prompt="caf\udce9"))
    assert service.requests() == []


def parts_of(text):
    return {text[start : start + 8] for start in range(len(text) - 7)}


ECHOES = [
    (400, {"error": {"message": f"no such key {KEY[:12]}...", "code": "invalid_api_key"}}),
    (401, {"error": {"message": f"{KEY[3:]} is wrong", "code": KEY}}),
    (500, {"error": {"message": f"upstream got Bearer {KEY}"}}),
    (
        200,
        {"error": {"message": f"Your request with {KEY[:20]} was rejected by the safety system"}},
    ),
    (200, {"error": {"message": f"bad key {KEY[-10:]}", "code": "x"}}),
    (200, {"data": [], "model": KEY}),
    (400, {"error": {"code": "moderation_blocked", "moderation_details": {"categories": [KEY]}}}),
]


@pytest.mark.parametrize(("status", "payload"), ECHOES)
def test_no_eight_characters_of_a_key_in_any_message_or_file(tmp_path, connected, status, payload):
    headers = {"content-type": "application/json", "x-request-id": f"req-{KEY[4:20]}"}
    with recorder((status, headers, json.dumps(payload).encode())) as (url, _):
        client = connected(url, retries=0, environ={"VERAX_API_KEY": KEY})
        request = client.prepare(edit())[0]
        with Journal(tmp_path / "journal") as journal:
            for _ in range(2):
                with pytest.raises(ProviderError) as caught:
                    journal.call(request, client.send, budget=Budget(load_tariff(), "run"))
                assert not parts_of(KEY) & parts_of(str(caught.value))
    for path in tmp_path.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert [part for part in parts_of(KEY) if part.encode() in data] == []


def test_a_key_that_is_echoed_beside_a_picture_is_kept_out_and_the_picture_in(tmp_path, connected):
    payload = {"data": [{"b64_json": PICTURE}], "model": f"m-{KEY[5:20]}", "note": f"key {KEY}"}
    with recorder((200, {}, json.dumps(payload).encode())) as (url, _):
        client = connected(url, environ={"VERAX_API_KEY": KEY})
        with Journal(tmp_path / "journal") as journal:
            request = client.prepare(edit())[0]
            answer = journal.call(request, client.send, budget=Budget(load_tariff(), "run"))
    data = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    assert answer.images[0].width == 32
    assert [part for part in parts_of(KEY) if part.encode() in data] == []
    assert not parts_of(KEY) & parts_of(repr(answer))


def test_a_short_word_for_a_key_spoils_no_answer(service, connected):
    client = connected(service.base_url, environ={"VERAX_API_KEY": "AAA"}, stream="never")

    assert ask(client, edit()).images
    assert without("any AAA BAAAB", Secret("AAA")) == "any [key] BAAAB"


def test_the_server_starts_whatever_the_surroundings_say(tmp_path):
    surroundings = {"ALL_PROXY": "socks5://127.0.0.1:1", "SSL_CERT_FILE": "/nowhere"}
    with (
        serving(tmp_path, OPENAI_API_KEY="a b", **surroundings) as (address, _),
        httpx2.Client(trust_env=False, base_url=address) as http,
    ):
        health, models = http.get("/healthz"), http.get("/v1/models")

    assert health.status_code == 200
    assert "OPENAI_API_KEY" in models.json()["error"]["message"]
