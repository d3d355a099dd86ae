"""The turns of an edit in a JSON file: what was asked, what came, what was accepted.

Every further instruction is asked of the original together with the accepted ones before it, so
that errors do not pile up from picture to picture.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from verax.errors import InputError, SettingsError
from verax.store import write_whole

VERSION = 1


@dataclass(frozen=True, slots=True)
class Turn:
    """One instruction and its result.

    Attributes:
        source: what the instruction was asked of.
        prompt: what was really sent.
        fingerprint: of the request, the key of the journal.
        output: file of the (best) result.
        accepted: whether further turns build on it.
    """

    instruction: str
    source: Literal["original", "last"]
    prompt: str
    model: str
    fingerprint: str
    output: str
    accepted: bool = True


@dataclass(frozen=True, slots=True)
class Session:
    """The photo, by path and hash, and the turns so far."""

    photo: str
    sha256: str
    turns: tuple[Turn, ...] = ()

    def accepted(self) -> tuple[Turn, ...]:
        """The turns that count, oldest first. A turn from the last output brings its history."""
        return tuple(turn for turn in self.turns if turn.accepted)


def load(path: Path, *, photo: Path, sha256: str) -> Session:
    """The session of this photo; a new one where there is no file yet.

    Raises SettingsError for a file that is no session, InputError for another photo's.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Session(str(photo), sha256)
    except (OSError, ValueError) as exc:
        raise SettingsError(f"{path}: not a session file: {exc}") from exc
    session = _from_json(stored, path)
    if session.sha256 != sha256:
        raise InputError(
            f"{path} is the session of {session.photo}, whose content differs from {photo}; "
            "name another --session"
        )
    return session


def save(path: Path, session: Session) -> None:
    """Write the whole file or nothing."""
    stored = {"version": VERSION, **asdict(session)}
    write_whole(path, (json.dumps(stored, indent=2, ensure_ascii=False) + "\n").encode())


def added(session: Session, turn: Turn) -> Session:
    return replace(session, turns=(*session.turns, turn))


def last_rejected(session: Session) -> Session:
    """The session with its last accepted turn taken back; InputError where there is none."""
    accepted = [index for index, turn in enumerate(session.turns) if turn.accepted]
    if not accepted:
        raise InputError("there is no accepted turn to take back")
    turns = [*session.turns]
    turns[accepted[-1]] = replace(turns[accepted[-1]], accepted=False)
    return replace(session, turns=tuple(turns))


def set_aside(session: Session, target: Path) -> Session:
    """The session with earlier results of the target's name copied beside it, so that a new one
    can go there; a service may have answered in another format, so the suffix does not count."""
    turns = list(session.turns)
    for index, turn in enumerate(turns):
        old = Path(turn.output)
        if old.with_suffix("") == target.resolve().with_suffix("") and old.is_file():
            aside = old.with_stem(f"{old.stem}.turn{index + 1}")
            write_whole(aside, old.read_bytes())
            turns[index] = replace(turn, output=str(aside))
    return replace(session, turns=tuple(turns))


def last_output(session: Session) -> Path:
    """The file of the last accepted turn; InputError where there is none."""
    if not session.accepted():
        raise InputError("--from-last: there is no accepted turn to go on from; edit once without")
    return Path(session.accepted()[-1].output)


def prompt(session: Session, instruction: str) -> str:
    """What to ask of the original: the accepted instructions and the new one, in order."""
    return numbered([*(turn.instruction for turn in session.accepted()), instruction])


def reopened(session: Session, instruction: str) -> Session:
    """The session before its last turn where that was the same instruction, so that the same
    command twice is one turn, answered from the journal."""
    last = session.turns[-1] if session.turns else None
    same = last is not None and last.accepted and last.instruction == instruction
    return replace(session, turns=session.turns[:-1]) if same else session


def numbered(instructions: Sequence[str]) -> str:
    """One instruction as it is, several as a list of changes to one photo."""
    if len(instructions) == 1:
        return instructions[0]
    lines = [f"{number}. {text}" for number, text in enumerate(instructions, 1)]
    return "\n".join(["Make all of these changes to the photo, in this order:", *lines])


def _from_json(stored: Any, path: Path) -> Session:  # noqa: ANN401  # any JSON at all
    try:
        if stored["version"] != VERSION:
            raise SettingsError(f"{path}: session version {stored['version']}, want {VERSION}")
        turns = tuple(Turn(**turn) for turn in stored["turns"])
        return Session(str(stored["photo"]), str(stored["sha256"]), turns)
    except (KeyError, TypeError) as exc:
        raise SettingsError(f"{path}: not a session file: {exc!r}") from exc
