"""Priors: from a service (`generated`) or simulated (`simulated`, from `changes` and `inject`).

Here: ranking of candidates, and sessions of edits.

Candidates are ranked by any number of judges, best first; none is discarded. Edits are judged by
fidelity and quality, generations by quality and agreement.

A session stores the turns of one edit in a JSON file: instruction, answer, whether it was accepted.
Each new instruction is sent with the original photo and the accepted instructions before it, so
that errors do not accumulate from picture to picture.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from verax.errors import InputError, SettingsError, VeraxError
from verax.image import Image
from verax.store import write_whole

Judge = Callable[[Image], float]  # a picture -> a score, higher is better


@dataclass(frozen=True, slots=True)
class Ranking:
    """Indices of the candidates, best first, and each judge's score per candidate."""

    order: tuple[int, ...]
    scores: tuple[Mapping[str, float], ...]


def rank(candidates: Sequence[Image], judges: Mapping[str, Judge]) -> Ranking:
    """Order candidates by the mean of their ranks over judges; ties keep their order.

    Ranks are averaged and not scores, because scores of different judges have different units. NaN
    is the last rank. Equal scores share a rank.
    """
    scores = tuple(
        {name: float(judge(picture)) for name, judge in judges.items()} for picture in candidates
    )
    places = np.zeros(len(scores))
    for name in judges:
        values = np.array([-np.inf if np.isnan(s[name]) else s[name] for s in scores])
        places += (values[None, :] > values[:, None]).sum(axis=1)
    order = np.argsort(places, kind="stable")
    return Ranking(tuple(int(index) for index in order), scores)


COMPARED_PX = 256  # side at which two pictures of any size are compared


def edit_judges(photo: Image) -> dict[str, Judge]:
    """Judges for an edit: naturalness, and the share of a candidate's edges that the photo has."""

    def fidelity(candidate: Image) -> float:
        return _score("edge_precision", resized(candidate, (photo.shape[1], photo.shape[0])), photo)

    return {"quality": quality, "fidelity": fidelity}


def text_judges(like: Image | None) -> dict[str, Judge]:
    """Judges for a generation: naturalness, and agreement with a picture if one is given."""
    if like is None:
        return {"quality": quality}
    small = resized(like, (COMPARED_PX, COMPARED_PX))

    def agreement(candidate: Image) -> float:
        return _score("ms_ssim", resized(candidate, (COMPARED_PX, COMPARED_PX)), small)

    return {"quality": quality, "agreement": agreement}


def quality(candidate: Image) -> float:
    """Naturalness: minus NIQE, so that higher is better."""
    return -_score("niqe", candidate)


def resized(picture: Image, size: tuple[int, int]) -> Image:
    """The picture resized to (width, height)."""
    from verax.image.pixels import resize_picture  # loads OpenCV

    return resize_picture(picture, size)


def _score(name: str, picture: Image, reference: Image | None = None) -> float:
    """A metric's value; NaN if the picture is too small for it."""
    from verax.metrics import score

    try:
        return score(picture, reference, [name])[0].value
    except VeraxError:
        return float("nan")


SESSION_VERSION = 1


@dataclass(frozen=True, slots=True)
class Turn:
    """One instruction and its result.

    Attributes:
        source: the picture that the instruction was sent with.
        prompt: what was sent.
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
        """The accepted turns, oldest first; one sent with the last output implies its history."""
        return tuple(turn for turn in self.turns if turn.accepted)

    def add(self, turn: Turn) -> "Session":
        return replace(self, turns=(*self.turns, turn))

    def reject_last(self) -> "Session":
        """The session with its last accepted turn undone; raises InputError if there is none."""
        accepted = [index for index, turn in enumerate(self.turns) if turn.accepted]
        if not accepted:
            raise InputError("there is no accepted turn to take back")
        turns = [*self.turns]
        turns[accepted[-1]] = replace(turns[accepted[-1]], accepted=False)
        return replace(self, turns=tuple(turns))

    def reopen(self, instruction: str) -> "Session":
        """The session without its last turn if that had the same instruction.

        The same command run twice is then one turn, answered from the journal.
        """
        last = self.turns[-1] if self.turns else None
        same = last is not None and last.accepted and last.instruction == instruction
        return replace(self, turns=self.turns[:-1]) if same else self

    def prompt(self, instruction: str) -> str:
        """The prompt for the original: the accepted instructions and the new one, in order."""
        return numbered([*(turn.instruction for turn in self.accepted()), instruction])

    def last_output(self) -> Path:
        """The file of the last accepted turn; raises InputError if there is none."""
        if not self.accepted():
            raise InputError(
                "--from-last: there is no accepted turn to continue from; edit once without it"
            )
        return Path(self.accepted()[-1].output)

    def set_aside(self, target: Path) -> "Session":
        """Copy earlier results with the target's name to other names, to make room for a new one.

        A service may have answered in another format, so the suffix is not compared.
        """
        turns = list(self.turns)
        for index, turn in enumerate(turns):
            old = Path(turn.output)
            if old.with_suffix("") == target.resolve().with_suffix("") and old.is_file():
                aside = old.with_stem(f"{old.stem}.turn{index + 1}")
                write_whole(aside, old.read_bytes())
                turns[index] = replace(turn, output=str(aside))
        return replace(self, turns=tuple(turns))

    def save(self, path: Path) -> None:
        """Write the session to a file, atomically."""
        stored = {"version": SESSION_VERSION, **asdict(self)}
        write_whole(path, (json.dumps(stored, indent=2, ensure_ascii=False) + "\n").encode())


def load_session(path: Path, *, photo: Path, sha256: str) -> Session:
    """The session of this photo; a new one if there is no file yet.

    Raises SettingsError for a file that is no session, InputError for one of another photo.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Session(str(photo), sha256)
    except (OSError, ValueError) as exc:
        raise SettingsError(f"{path}: not a session file: {exc}") from exc
    session = _session(stored, path)
    if session.sha256 != sha256:
        raise InputError(
            f"{path} is the session of {session.photo}, whose content differs from {photo}; "
            "name another --session"
        )
    return session


def _session(stored: Any, path: Path) -> Session:  # noqa: ANN401  # any JSON at all
    try:
        if stored["version"] != SESSION_VERSION:
            raise SettingsError(
                f"{path}: session version {stored['version']}, expected {SESSION_VERSION}"
            )
        turns = tuple(Turn(**turn) for turn in stored["turns"])
        return Session(str(stored["photo"]), str(stored["sha256"]), turns)
    except (KeyError, TypeError) as exc:
        raise SettingsError(f"{path}: not a session file: {exc!r}") from exc


def numbered(instructions: Sequence[str]) -> str:
    """One instruction as it is; several as a numbered list."""
    if len(instructions) == 1:
        return instructions[0]
    lines = [f"{number}. {text}" for number, text in enumerate(instructions, 1)]
    return "\n".join(["Make all of these changes to the photo, in this order:", *lines])
