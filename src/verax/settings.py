"""Reads the settings from the environment and one TOML file, and keeps secrets out of sight.

The environment takes precedence over the file (VERAX_CONFIG, or config.toml in the user's
configuration folder), and the file over the defaults here. Keys come from the environment or the
system keyring, never from arguments, which every user of the machine can list.
"""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from itertools import groupby
from pathlib import Path
from typing import Any

import platformdirs

from verax.errors import SettingsError

KEYRING_SERVICE = "verax"
PART = 8  # characters of a key in a row that are masked
_KEY_SHAPES = re.compile(r"\b(?:sk|lmnfl|sess)[-_][\w*-]{4,}|(?i:bearer)\s+[\w.~+/*-]{6,}=*")


class Secret:
    """A text, such as a key, that no print, log, traceback or pickle shows.

    Only `reveal()` returns it. `name` is the environment variable or keyring entry that had it.
    """

    __slots__ = ("_text", "name")

    def __init__(self, text: str, name: str = "") -> None:
        self._text, self.name = text, name

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> str:
        raise TypeError("a Secret cannot be pickled, since the pickle would show it; load it again")


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. Each has this name in the config file, and VERAX_<NAME> in the environment.

    Attributes:
        home: folder of the journal, the cache, datasets, and facts about services.
        gateway: the service, a name in `verax models --gateways`; "": OpenAI, or any service at
            `base_url`.
        base_url: address of the service; "": its usual one.
        model: the model to use; "": the default of the function that is called.
        deployment: the name that the service (Azure) has for the model; "" if it is the same.
        local_only: refuse every address beyond this machine.
        timeout_s: a call fails after this many seconds without a byte from the service.
        retries: how often a call is repeated if the service did not start it.
        concurrency: largest number of calls at the same time.
        images_per_minute: largest number of calls in a minute; 0 for no limit.
        max_cost: US dollars that one run may cost; None for no limit.
        stream: when to stream answers: "auto" (if they may take long), "always" or "never".
        c2pa_certificate, c2pa_key: PEM files to sign restorations with; "" to leave them unsigned.
        environ: the environment in which keys are looked up; never shown.
    """

    home: Path
    gateway: str = ""
    base_url: str = ""
    model: str = ""
    deployment: str = ""
    local_only: bool = False
    timeout_s: float = 600.0
    retries: int = 4
    concurrency: int = 4
    images_per_minute: int = 0
    max_cost: float | None = None
    stream: str = "auto"
    c2pa_certificate: str = ""
    c2pa_key: str = ""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    def key(self, *names: str) -> Secret | None:
        """The first key that has one of these names, such as OPENAI_API_KEY, in the environment or
        else in the system keyring; None if there is none."""
        for name in names:
            if self.environ.get(name, "").strip():
                return _sendable(Secret(self.environ[name].strip(), name))
        secrets = (_from_keyring(name) for name in names)
        return next((secret for secret in secrets if secret), None)


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings from the config file and from `environ`, by default the environment of this
    process. Raises SettingsError for an unknown setting or a wrong value."""
    environ = os.environ if environ is None else environ
    file = _config_file(environ)
    values = _read_file(file, needed=bool(environ.get("VERAX_CONFIG")))
    known = [f.name for f in fields(Settings) if f.name != "environ"]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise SettingsError(
            f"{file}: unknown settings {', '.join(unknown)}; remove them or use only "
            f"{', '.join(known)}"
        )
    values |= {n: environ[f"VERAX_{n.upper()}"] for n in known if f"VERAX_{n.upper()}" in environ}
    values.setdefault("home", platformdirs.user_data_dir("verax", appauthor=False))
    typed = {name: _convert(name, value) for name, value in values.items()}
    return Settings(**typed, environ=dict(environ))


def _config_file(environ: Mapping[str, str]) -> Path:
    named = environ.get("VERAX_CONFIG")
    return Path(named) if named else Path(platformdirs.user_config_dir("verax")) / "config.toml"


def _read_file(file: Path, *, needed: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if needed:
            raise SettingsError(
                f"VERAX_CONFIG: there is no file {file}; create it or unset VERAX_CONFIG"
            ) from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SettingsError(
            f"{file}: expected a TOML file, found one with an error ({exc}); correct or remove it"
        ) from exc


def _convert(name: str, value: object) -> Any:  # noqa: ANN401  # as different as the settings
    convert, words = _TYPES.get(name, (str, "text"))
    try:
        return convert(value)
    except (TypeError, ValueError) as exc:
        raise SettingsError(
            f"setting {name} (VERAX_{name.upper()}): expected {words}, got {value!r}; correct or "
            "remove it"
        ) from exc


def _bool(value: object) -> bool:
    text = str(value).lower()
    if text in {"1", "true", "yes", "on"}:
        return True
    if text in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError


def _positive(value: object) -> float:
    number = float(str(value))
    if not 0.0 < number < float("inf"):
        raise ValueError
    return number


def _count(value: object) -> int:
    number = int(str(value))
    if number < 0:
        raise ValueError
    return number


def _cost(value: object) -> float:
    """A cost limit in US dollars; infinity for "any"."""
    if value == "any":
        return float("inf")
    number = float(str(value))
    if not 0.0 <= number < float("inf"):
        raise ValueError
    return number


def _stream(value: object) -> str:
    if value not in ("auto", "always", "never"):
        raise ValueError
    return str(value)


# setting -> (what converts its value, raising ValueError if that fails; the values that it expects)
_TYPES: dict[str, tuple[Callable[[object], Any], str]] = {
    "home": (lambda value: Path(str(value)).expanduser(), "a path"),
    "local_only": (_bool, "true or false"),
    "timeout_s": (_positive, "a number of seconds above 0"),
    "retries": (_count, "a whole number, 0 or more"),
    "concurrency": (lambda value: max(1, _count(value)), "a whole number, 0 or more"),
    "images_per_minute": (_count, "a whole number, 0 or more"),
    "max_cost": (_cost, "US dollars, 0 or more, or any"),
    "stream": (_stream, "auto, always or never"),
}


def _from_keyring(name: str) -> Secret | None:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        return None
    try:
        text = keyring.get_password(KEYRING_SERVICE, name)
    except KeyringError:  # a machine without a keyring, or a locked one
        return None
    return _sendable(Secret(text.strip(), name)) if text and text.strip() else None


def _sendable(secret: Secret) -> Secret:
    """The key itself. Raises SettingsError if it has characters that an HTTP header cannot have;
    the message does not show the key."""
    if not re.fullmatch(r"[\x21-\x7e]+", secret.reveal()):
        raise SettingsError(
            f"{secret.name} contains a key with a space, a line break or a non-ASCII character; "
            "copy the key again. Nothing was sent"
        )
    return secret


def without(text: str, secret: Secret | None) -> str:
    """The text with "[key]" in place of the key `secret` (None: unknown), of every part of it with
    eight or more characters, and of all that looks like a key of a service."""
    if secret is not None:
        text = without_parts(text, secret.reveal())
    return _KEY_SHAPES.sub("[key]", text)


def without_parts(text: str, key: str) -> str:
    """The text with "[key]" in place of every part of the key with eight or more characters.

    A shorter key is replaced where it stands as a whole word.
    """
    if len(key) < PART:
        return re.sub(rf"\b{re.escape(key)}\b", "[key]", text)
    parts = {key[start : start + PART] for start in range(len(key) - PART + 1)}
    masked = bytearray(len(text))
    for start in range(len(text) - PART + 1):
        if text[start : start + PART] in parts:
            masked[start : start + PART] = b"\1" * PART
    pieces = groupby(zip(text, masked, strict=True), key=lambda pair: pair[1])
    return "".join("[key]" if hide else "".join(c for c, _ in run) for hide, run in pieces)
