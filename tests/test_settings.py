"""Settings come from the environment before the file, and secrets never show."""

import pickle
from pathlib import Path

import pytest

from verax.errors import SettingsError
from verax.settings import Secret, load

KEY = "sk-very-secret-0123456789"


def config(tmp_path, text):
    file = tmp_path / "config.toml"
    file.write_text(text)
    return {"VERAX_CONFIG": str(file), "VERAX_HOME": str(tmp_path)}


def test_the_environment_wins_over_the_file_and_the_file_over_defaults(tmp_path):
    environ = config(tmp_path, 'model = "from-file"\nretries = 1\n')

    got = load(environ | {"VERAX_RETRIES": "2"})

    assert (got.model, got.retries, got.concurrency) == ("from-file", 2, 4)
    assert got.home == Path(tmp_path)


@pytest.mark.parametrize("show", [repr, str, "{}".format])
def test_no_key_shows(tmp_path, show):
    settings = load({"VERAX_HOME": str(tmp_path), "OPENAI_API_KEY": KEY})
    secret = settings.key("OPENAI_API_KEY")

    assert secret is not None
    assert secret.reveal() == KEY
    assert KEY not in show(settings)
    assert KEY not in show(secret)
    assert KEY not in show([secret])


def test_a_secret_is_not_pickled():
    with pytest.raises(TypeError):
        pickle.dumps(Secret(KEY))


def test_without_a_key_there_is_none(tmp_path):
    assert load({"VERAX_HOME": str(tmp_path)}).key("OPENAI_API_KEY") is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RETRIES", "-1"),
        ("RETRIES", "often"),
        ("LOCAL_ONLY", "perhaps"),
        ("TIMEOUT_S", "0"),
        ("MAX_COST", "nan"),
        ("STREAM", "sometimes"),
    ],
)
def test_a_setting_that_cannot_be_is_named(tmp_path, name, value):
    with pytest.raises(SettingsError, match=name.lower()):
        load({"VERAX_HOME": str(tmp_path), f"VERAX_{name}": value})


@pytest.mark.parametrize("text", ["colour = 1", "model = ", "\xff"])
def test_a_config_file_that_cannot_be_used_is_an_error(tmp_path, text):
    with pytest.raises(SettingsError):
        load(config(tmp_path, text))


def test_a_named_config_file_must_exist(tmp_path):
    with pytest.raises(SettingsError, match="there is no file"):
        load({"VERAX_CONFIG": str(tmp_path / "none.toml")})


def test_a_key_is_found_in_the_system_keyring_after_the_environment(tmp_path):
    keyring = pytest.importorskip("keyring")

    class Drawer(keyring.backend.KeyringBackend):
        priority = 1

        def get_password(self, service, username):
            return {("verax", "OPENAI_API_KEY"): KEY}.get((service, username))

        def set_password(self, service, username, password):
            raise NotImplementedError

        def delete_password(self, service, username):
            raise NotImplementedError

    before = keyring.get_keyring()
    keyring.set_keyring(Drawer())
    try:
        key = load({"VERAX_HOME": str(tmp_path)}).key("OTHER_API_KEY", "OPENAI_API_KEY")
        own = load({"OPENAI_API_KEY": "mine", "VERAX_HOME": "x"}).key("OPENAI_API_KEY")
    finally:
        keyring.set_keyring(before)

    assert (key.reveal(), own.reveal()) == (KEY, "mine")
