"""Rank generated pictures, and store the session of an edit that takes several instructions.

If a service returns several pictures for one request, `rank` orders these candidates, best first,
by judges (functions that score a picture). None is discarded.

A `Session` is stored as a JSON file with each instruction, the picture that a service made for it,
and whether the user accepted that picture. A new instruction is sent with the original photo and
all instructions accepted before, so that errors do not accumulate from picture to picture.

Priors are made by the modules `generated` (by a service) and `simulated` (`changes`, `inject`).
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
    """The order of candidate pictures.

    Attributes:
        order: indices of the candidates, best first.
        scores: for each candidate, in the order in which they came: name of judge -> score.
    """

    order: tuple[int, ...]
    scores: tuple[Mapping[str, float], ...]


def rank(candidates: Sequence[Image], judges: Mapping[str, Judge]) -> Ranking:
    """Order candidate pictures by the mean of their ranks over all judges.

    `judges` maps the name of each judge to a function of a picture that returns a score, higher for
    better pictures.
    Ranks are averaged instead of scores, since scores of different judges have different units.
    Equal scores have the same rank; NaN ranks last. Candidates with equal means keep their order.
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
    """Functions that score one candidate edit of `photo`, by name; higher scores are better.

    "quality" is the negative NIQE. "fidelity" is the share of a candidate's edge pixels that have
    an edge of the photo within 2 px, after resizing the candidate to the photo's size.
    """

    def fidelity(candidate: Image) -> float:
        return _score("edge_precision", resize(candidate, (photo.shape[1], photo.shape[0])), photo)

    return {"quality": quality, "fidelity": fidelity}


def text_judges(like: Image | None) -> dict[str, Judge]:
    """Functions that score one picture generated from text, by name; higher scores are better.

    "quality" is the negative NIQE. If a picture `like` is given, "agreement" is the candidate's
    MS-SSIM with it, both resized to 256 x 256 px.
    """
    if like is None:
        return {"quality": quality}
    small = resize(like, (COMPARED_PX, COMPARED_PX))

    def agreement(candidate: Image) -> float:
        return _score("ms_ssim", resize(candidate, (COMPARED_PX, COMPARED_PX)), small)

    return {"quality": quality, "agreement": agreement}


def quality(candidate: Image) -> float:
    """The negative NIQE of a picture, so that higher is better; NaN if the picture is too small."""
    return -_score("niqe", candidate)


def resize(picture: Image, size: tuple[int, int]) -> Image:
    """The picture resized to `size` (width, height)."""
    from verax.image.pixels import resize_picture  # loads OpenCV

    return resize_picture(picture, size)


def _score(name: str, picture: Image, reference: Image | None = None) -> float:
    """The value of the metric `name`; NaN if it cannot be computed, such as on a small picture.

    `reference` is the picture to compare with; None for a metric that compares with none.
    """
    from verax.metrics import score

    try:
        return score(picture, reference, [name])[0].value
    except VeraxError:
        return float("nan")


SESSION_VERSION = 1
NO_SESSION = "expected a session file, which verax edit --session writes"
RENAME = "name another file: --session FILE"


@dataclass(frozen=True, slots=True)
class Turn:
    """One instruction of a session, and its result.

    Attributes:
        instruction: the user's words.
        source: whether the "original" photo or the "last" result was sent with them.
        prompt: the whole text that was sent, with earlier instructions.
        model: name of the image model that made the result.
        fingerprint: hash of the request, by which its answer is found among the stored answers.
        output: path of the result; if the service returned several pictures, of the best.
        accepted: whether later turns build on this one; False after the user rejected it.
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
    """A session of edits: the photo's path and SHA-256, and its turns (instruction and result).

    Turns are in the order in which they were made. A session is never changed in place: methods
    return a new one.
    """

    photo: str
    sha256: str
    turns: tuple[Turn, ...] = ()

    def accepted_turns(self) -> tuple[Turn, ...]:
        """The accepted turns (instructions with their results), oldest first."""
        return tuple(turn for turn in self.turns if turn.accepted)

    def add(self, turn: Turn) -> "Session":
        return replace(self, turns=(*self.turns, turn))

    def reject_last(self) -> "Session":
        """A copy of the session with the last accepted turn marked as not accepted.

        Raises InputError if the session has no accepted turn.
        """
        accepted = [index for index, turn in enumerate(self.turns) if turn.accepted]
        if not accepted:
            raise InputError(
                "--reject-last: this session has no accepted turn (an instruction whose result was "
                "kept), so nothing can be rejected; leave out the option"
            )
        turns = [*self.turns]
        turns[accepted[-1]] = replace(turns[accepted[-1]], accepted=False)
        return replace(self, turns=tuple(turns))

    def reopen(self, instruction: str) -> "Session":
        """The session without its last turn, if that is accepted and has this instruction.

        So a command that is run twice makes one turn, not two. Otherwise the session itself.
        """
        last = self.turns[-1] if self.turns else None
        same = last is not None and last.accepted and last.instruction == instruction
        return replace(self, turns=self.turns[:-1]) if same else self

    def prompt(self, instruction: str) -> str:
        """The prompt to send with the original photo: the accepted instructions and this one."""
        return number_instructions(
            [*(turn.instruction for turn in self.accepted_turns()), instruction]
        )

    def last_output(self) -> Path:
        """The path of the last accepted result. Raises InputError if there is none."""
        if not self.accepted_turns():
            raise InputError(
                "--from-last: this session has no accepted turn (an instruction whose result was "
                "kept) to continue from; leave out the option for the first instruction"
            )
        return Path(self.accepted_turns()[-1].output)

    def set_aside(self, target: Path) -> "Session":
        """Copy the earlier results that `target`, the file of the new result, would overwrite.

        These are files with the name of `target` and any suffix, since a service may answer in
        another format. A copy lies beside its original and is named like "photo.turn2.png", for the
        result of turn 2. Returns a session in which the turns have the paths of the copies.
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
        """Write the session to a JSON file, atomically."""
        stored = {"version": SESSION_VERSION, **asdict(self)}
        write_whole(path, (json.dumps(stored, indent=2, ensure_ascii=False) + "\n").encode())


def load_session(path: Path, *, photo: Path, sha256: str) -> Session:
    """Read the session of a photo from a JSON file; an empty session if there is no such file.

    `sha256` is the hash of the photo's file. Raises SettingsError if the file is not a session,
    InputError if it is the session of a photo with another hash.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Session(str(photo), sha256)
    except (OSError, ValueError) as exc:
        raise SettingsError(f"{path}: {NO_SESSION}, got {exc}; {RENAME}") from exc
    session = _session(stored, path)
    if session.sha256 != sha256:
        raise InputError(
            f"{path}: expected a session of the photo {photo}, got a session of {session.photo}, "
            "whose content is different; name another file: --session FILE"
        )
    return session


def _session(stored: Any, path: Path) -> Session:  # noqa: ANN401  # any JSON at all
    try:
        if stored["version"] != SESSION_VERSION:
            raise SettingsError(
                f"{path}: expected a session file of version {SESSION_VERSION}, got version "
                f"{stored['version']}; {RENAME}"
            )
        turns = tuple(Turn(**turn) for turn in stored["turns"])
        return Session(str(stored["photo"]), str(stored["sha256"]), turns)
    except (KeyError, TypeError) as exc:
        raise SettingsError(f"{path}: {NO_SESSION}, got other content ({exc!r}); {RENAME}") from exc


def number_instructions(instructions: Sequence[str]) -> str:
    """A prompt that asks for all instructions, as a numbered list; a single one stays unchanged."""
    if len(instructions) == 1:
        return instructions[0]
    lines = [f"{number}. {text}" for number, text in enumerate(instructions, 1)]
    return "\n".join(["Make all of these changes to the photo, in this order:", *lines])
