"""With local-only nothing leaves this machine, whatever addresses, names and redirects say."""

import pytest
from recorder import recorder

from asking import ask, edit
from verax.errors import InputError, ProviderRejected, SettingsError
from verax.providers.addresses import local_address, parse_url
from verax.providers.transport import Transport


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "http://192.168.1.5:8000/v1",
        "http://10.0.0.1/v1",
        "http://[2001:db8::1]/v1",
        "http://127.0.0.1.example.org/v1",
        "http://localhost.example.org/v1",
        "http://0.0.0.0:8000/v1",
        "http://2130706433/v1",  # 127.0.0.1 as one number is a name to a resolver
    ],
)
def test_an_address_beyond_this_machine_is_refused_at_once(connected, url):
    with pytest.raises(SettingsError, match="nothing was sent"):
        connected(url, local_only=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_loopback_addresses_are_this_machine(host):
    assert local_address(host) == host


@pytest.mark.parametrize("host", ["localhost", "models.localhost"])
def test_localhost_names_become_a_checked_address(host):
    assert local_address(host) in {"127.0.0.1", "::1"}


def test_a_local_service_can_be_called_by_its_name(service, connected):
    url = service.base_url.replace("127.0.0.1", "localhost")

    assert ask(connected(url, local_only=True, stream="never"), edit()).images


def test_a_redirect_is_not_followed(connected):
    answer = (307, {"location": "https://elsewhere.example/v1/images/edits"}, b"")
    with recorder(answer) as (url, requests):
        with pytest.raises(ProviderRejected, match="redirects to https://elsewhere"):
            ask(connected(url, stream="never"), edit())

        assert len(requests) == 1


def test_a_link_in_an_answer_and_its_redirects_stay_on_this_machine():
    answer = (302, {"location": "http://192.0.2.1/picture.png"}, b"")
    with recorder(answer) as (url, _):
        line = Transport(url, local_only=True)
        with pytest.raises(SettingsError, match="this machine only"):
            line.fetch(f"{url}/picture.png")
        line.close()


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "127.0.0.1:8000", "", "http://", "file:///x"])
def test_what_is_no_address_is_an_error(url):
    with pytest.raises(InputError):
        parse_url(url)


def test_a_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(SettingsError) as caught:
        parse_url("https://user:hunter2@service.example/v1")

    assert "hunter2" not in str(caught.value)
