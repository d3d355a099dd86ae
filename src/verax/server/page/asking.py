"""What the page asks of a paid service, as calls: a prior for a photo, pictures, the next turn."""

from pathlib import Path
from typing import Any

from verax.priors.session import numbered
from verax.server.calls import MAX_PROMPT, Call, is_text
from verax.server.page.history import History
from verax.server.replies import Problem
from verax.server.upstream import FAITHFUL

TEXTS = ("size", "quality", "moderation")
MOST_TURNS = 50


def prior_call(model: str, prompt: str, photo: Path, size: tuple[int, int]) -> Call:
    """A faithful edit of one photo; without a prompt the catalog's own is sent."""
    name = FAITHFUL + model.removeprefix(FAITHFUL)
    return _call("edit", name, prompt, (photo,), {}, (size,))


def generation_call(asked: Any, kept: History) -> tuple[Call, dict[str, Any]]:  # noqa: ANN401
    """Pictures from words; with `first`, those words asked of that earlier picture.

    `asked` is any JSON: {"model", "prompt", "n", "size", "quality", "moderation",
    "first": {"id", "picture"}, "turns": [earlier instructions]}. Also what the history keeps.
    """
    if not isinstance(asked, dict):
        raise Problem(400, "want a JSON object as the body", "invalid_type")
    prompt, model = _text(asked, "prompt").strip(), _text(asked, "model")
    if not prompt:
        raise Problem(400, "prompt: want what the picture should show", "missing", "prompt")
    fields: dict[str, Any] = {name: _text(asked, name) for name in TEXTS if asked.get(name)}
    n = asked.get("n", 1)
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= 10:
        raise Problem(400, "n: want a whole number from 1 to 10", "invalid_value", "n")
    first, turns = asked.get("first"), asked.get("turns", [])
    about = {"kind": "generation", "name": prompt[:80], "prompt": prompt, "model": model, "n": n}
    if first is None:
        return _call("generation", model, prompt, (), {**fields, "n": n}), about
    if not isinstance(first, dict) or not _texts(turns):
        raise Problem(400, "first: want an entry and a picture of it", "invalid_type", "first")
    source = kept.picture(_text(first, "id"), _text(first, "picture"))
    words = numbered([*turns, prompt])
    about |= {"first": {"id": first["id"], "picture": first["picture"]}, "turns": turns}
    return _call("edit", model, words, (source,), {**fields, "n": n}), about


def _call(
    kind: str,
    model: str,
    prompt: str,
    images: tuple[Path, ...],
    fields: dict[str, Any],
    sizes: tuple[tuple[int, int], ...] = (),
) -> Call:
    if len(prompt) > MAX_PROMPT:
        raise Problem(
            400, f"prompt: want at most {MAX_PROMPT} characters, got {len(prompt)}",
            "invalid_value", "prompt",
        )  # fmt: skip
    return Call(kind, model, prompt, images, sizes, None, fields, False, 1.0, (), "")


def _text(values: dict[str, Any], name: str) -> str:
    value = values.get(name)
    if not is_text(value):
        raise Problem(400, f"{name}: want text", "invalid_type", name)
    return value


def _texts(turns: object) -> bool:
    return isinstance(turns, list) and len(turns) <= MOST_TURNS and all(map(is_text, turns))
