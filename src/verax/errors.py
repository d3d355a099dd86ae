"""Every error that Verax raises on purpose.

VeraxError
├── InputError                 the input cannot be used (command line: exit status 2)
│   ├── ImageContractError     an array is not (H, W, 3) float32 in [0, 1]
│   ├── ImageReadError         a file cannot be read as one picture
│   ├── SizeMismatchError      two pictures that must have the same size do not
│   ├── UnknownNameError       no metric, restorer, model, dataset ... of that name
│   ├── SettingsError          a setting, plan or config file is missing or wrong
│   └── MissingExtraError      a part of Verax needs packages that are not installed
├── OutputError                the result cannot be written
├── ProviderError              the image service did not deliver
│   ├── ProviderRefused        refused by moderation, with stage and categories; never retried
│   ├── ProviderRejected       the request is wrong (400, 401, 403, 404, 422); never retried
│   ├── ProviderBusy           429 or no connection after the last retry; nothing was started
│   ├── ProviderUncertain      no answer, or a 5xx; it may still have been billed
│   └── BudgetExceeded         the call would exceed the cost limit; nothing was sent
└── RunError                   a training or benchmark run cannot continue; its work so far is kept

A message has three parts: what was expected, what was found, what to do. Anything else that escapes
from a public function is a bug.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from typing import TypeVar

T = TypeVar("T")


class VeraxError(Exception):
    """The base class of all errors that Verax raises on purpose."""


class InputError(VeraxError, ValueError):
    """The input cannot be used."""


class ImageContractError(InputError):
    """An array is not a picture of the shape (H, W, 3) with float32 values in [0, 1]."""


class ImageReadError(InputError):
    """A file cannot be read as a picture."""


class SizeMismatchError(InputError):
    """Two pictures that must have the same size in pixels do not."""


class UnknownNameError(InputError):
    """There is no metric, restorer, model ... of that name; the message lists the known names."""


class SettingsError(InputError):
    """A setting, plan or configuration file is missing or wrong."""


class MissingExtraError(InputError):
    """A part of Verax needs packages that are not installed; the message names the command."""


class OutputError(VeraxError):
    """The result, such as a file or a record in a database, cannot be written."""


class ProviderError(VeraxError):
    """The image service did not deliver a picture that can be used."""


class ProviderRefused(ProviderError):
    """The service's moderation refused a request.

    Attributes:
        stage: what it refused: "input", "output" (the generated picture) or "unknown".
        categories: its reasons, such as "violence"; may be empty.
    """

    def __init__(
        self, message: str, *, stage: str = "unknown", categories: Iterable[str] = ()
    ) -> None:
        super().__init__(message)
        self.stage = stage
        self.categories = tuple(categories)


class ProviderRejected(ProviderError):
    """The service says that the request itself is wrong; repeating it unchanged is useless."""


class ProviderBusy(ProviderError):
    """The service had too many requests, or could not be reached, even after several attempts. It
    did not start the call, which costs nothing."""


class ProviderUncertain(ProviderError):
    """No complete answer arrived, and the call may have been billed. It is sent again only if
    `retry_uncertain` is set.

    Attributes:
        partial: the received part of the answer, byte for byte.
    """

    def __init__(self, message: str, *, partial: bytes = b"") -> None:
        super().__init__(message)
        self.partial = partial


class BudgetExceeded(ProviderError):
    """The call could exceed the cost limit of its run; nothing was sent."""


class RunError(VeraxError):
    """A training or benchmark run cannot continue; its work so far is kept."""


def choose(registry: Mapping[str, T], name: str, *, kind: str) -> T:
    """The value of `name` in `registry`. Raises UnknownNameError, which lists the known names, if
    there is none; `kind` says in the message what the names stand for, such as "metric"."""
    if name in registry:
        return registry[name]
    near = get_close_matches(name, registry, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UnknownNameError(f"unknown {kind} {name!r}{hint}; known: {', '.join(sorted(registry))}")


def quantity(count: int, noun: str) -> str:
    """A count with its noun, given in the singular, for a message: "1 photo" or "3 photos"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def missing_extra(what: str, extra: str) -> MissingExtraError:
    """The error for a part of Verax whose optional packages are not installed. `what` is that part
    in words, and `extra` the name of the extra with its packages. The message has the command that
    installs them."""
    command = install_command(extra)
    return MissingExtraError(f"{what} needs more packages; to install them, run: {command}")


def install_command(extra: str, *, prefix: str = sys.prefix) -> str:
    """A shell command that installs the packages of an extra into this Python environment.

    It lists the packages, since `verax[extra]` works only if pip can find Verax. `prefix` is the
    folder of the environment.
    """
    packages = extra_packages(extra)
    requirement = " ".join(f"'{package}'" for package in packages) or f"'verax[{extra}]'"
    if "/pipx/" in prefix.replace("\\", "/"):
        return f"pipx inject verax {requirement}"
    if find_spec("pip") is None:
        return f"uv pip install --python {sys.executable} {requirement}"
    return f"{sys.executable} -m pip install {requirement}"


def extra_packages(extra: str, requirements: Iterable[str] | None = None) -> list[str]:
    """The packages of an extra, and of the extras that it includes. `requirements` are the lines of
    "Requires-Dist" in the package's metadata; None for those of the installed Verax."""
    if requirements is None:
        from importlib.metadata import PackageNotFoundError, requires

        try:
            requirements = requires("verax") or ()
        except PackageNotFoundError:
            return []
    lines = [line.partition(";") for line in requirements]
    own = [
        package.strip()
        for package, _, marker in lines
        if re.search(rf"extra\s*==\s*['\"]{extra}['\"]", marker)
    ]
    packages: list[str] = []
    for package in own:
        inner = re.fullmatch(r"verax\[([\w,-]+)\]", package)
        names = inner[1].split(",") if inner else []
        packages += [p for name in names for p in extra_packages(name, list(requirements))]
        if not inner:
            packages.append(package)
    return list(dict.fromkeys(packages))
