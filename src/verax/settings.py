"""Reads the settings from the environment and one TOML file, and keeps secrets out of sight.

The environment takes precedence over the file (VERAX_CONFIG, or config.toml in the user's
configuration folder), and the file over the defaults here. Keys come from the environment or the
system keyring, never from arguments, which every process list shows.
"""

import os
import re
import tomllib
from collections.abc import Mapping
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
    """A text that no print, log, traceback or pickle shows; only `reveal()` returns it.

    `name`: the environment variable that held the text.
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
        raise TypeError("a secret is not pickled")


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. Each has the same name in the file, and VERAX_<NAME> in the environment.

    Attributes:
        home: folder of the journal, the cache, and what was learnt about services.
        gateway: the service, a name of the catalog; "" is OpenAI or, with `base_url`, any service.
        base_url: another address of that service; "" for the one in the catalog.
        model: the model to use; "" for the caller's default.
        deployment: the name that the service (Azure) has for the model; "" if it is the same.
        local_only: refuse every address beyond this machine.
        timeout_s: seconds without a byte from a service after which a call has failed.
        retries: how often a call that the service did not start is repeated.
        concurrency: largest number of calls at the same time.
        images_per_minute: largest number of calls in a minute; 0 for no limit.
        max_cost: US dollars that one run may cost; None for no limit.
        stream: whether answers are streamed: "auto" (if expected to take long), "always", "never".
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
        """The first key found under these names, in the environment and then in the system keyring;
        None if there is no key."""
        for name in names:
            if self.environ.get(name, "").strip():
                return _sendable(Secret(self.environ[name].strip(), name))
        secrets = (_from_keyring(name) for name in names)
        return next((secret for secret in secrets if secret), None)


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings from an environment, by default that of this process, and from its config
    file."""
    environ = os.environ if environ is None else environ
    values = _read_file(environ.get("VERAX_CONFIG"))
    known = [f.name for f in fields(Settings) if f.name != "environ"]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise SettingsError(f"unknown settings {', '.join(unknown)}; use {', '.join(known)}")
    values |= {n: environ[f"VERAX_{n.upper()}"] for n in known if f"VERAX_{n.upper()}" in environ}
    values.setdefault("home", platformdirs.user_data_dir("verax", appauthor=False))
    typed = {name: _typed(name, value) for name, value in values.items()}
    return Settings(**typed, environ=dict(environ))


def _read_file(path: str | None) -> dict[str, Any]:
    file = Path(path) if path else Path(platformdirs.user_config_dir("verax")) / "config.toml"
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if path:
            raise SettingsError(
                f"VERAX_CONFIG: there is no file {path}; create it or unset VERAX_CONFIG"
            ) from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SettingsError(f"{file}: expected a TOML file; correct or remove it: {exc}") from exc


def _typed(name: str, value: object) -> Any:  # noqa: ANN401  # as different as the settings
    try:
        return _TYPES.get(name, str)(value)
    except (TypeError, ValueError) as exc:
        variable = f"VERAX_{name.upper()}"
        raise SettingsError(f"setting {name} ({variable}): cannot use {value!r}: {exc}") from exc


def _bool(value: object) -> bool:
    text = str(value).lower()
    if text in {"1", "true", "yes", "on"}:
        return True
    if text in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError("expected true or false")


def _positive(value: object) -> float:
    number = float(str(value))
    if not 0.0 < number < float("inf"):
        raise ValueError("expected a number above 0")
    return number


def _count(value: object) -> int:
    number = int(str(value))
    if number < 0:
        raise ValueError("expected a whole number, 0 or more")
    return number


def _cost(value: object) -> float:
    """US dollars; "any" states that there is no limit."""
    if value == "any":
        return float("inf")
    number = float(str(value))
    if not 0.0 <= number < float("inf"):
        raise ValueError("expected US dollars, 0 or more")
    return number


def _stream(value: object) -> str:
    if value not in ("auto", "always", "never"):
        raise ValueError("expected auto, always or never")
    return str(value)


_TYPES: dict[str, Any] = {
    "home": lambda value: Path(str(value)).expanduser(),
    "local_only": _bool,
    "timeout_s": _positive,
    "retries": _count,
    "concurrency": lambda value: max(1, _count(value)),
    "images_per_minute": _count,
    "max_cost": _cost,
    "stream": _stream,
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
    """The key itself; SettingsError for one that no header can carry. No part of it is shown."""
    if not re.fullmatch(r"[\x21-\x7e]+", secret.reveal()):
        raise SettingsError(
            f"{secret.name} contains a key with a space, a line break or a non-ASCII character; "
            "copy the key again. Nothing was sent"
        )
    return secret


def without(text: str, secret: Secret | None) -> str:
    """The text without a key, any eight characters of it, and anything that looks like a key."""
    if secret is not None:
        text = without_parts(text, secret.reveal())
    return _KEY_SHAPES.sub("[key]", text)


def without_parts(text: str, key: str) -> str:
    """Whatever of the text lies in a run of at least PART characters of the key is masked."""
    if len(key) < PART:
        return re.sub(rf"\b{re.escape(key)}\b", "[key]", text)
    parts = {key[start : start + PART] for start in range(len(key) - PART + 1)}
    masked = bytearray(len(text))
    for start in range(len(text) - PART + 1):
        if text[start : start + PART] in parts:
            masked[start : start + PART] = b"\1" * PART
    pieces = groupby(zip(text, masked, strict=True), key=lambda pair: pair[1])
    return "".join("[key]" if hide else "".join(c for c, _ in run) for hide, run in pieces)
