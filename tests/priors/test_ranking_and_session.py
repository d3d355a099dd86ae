"""Candidates are ordered by places, sessions keep what was accepted and nothing else."""

import numpy as np
import pytest

from verax.errors import InputError, SettingsError
from verax.priors import Session, Turn, load_session, rank


def grey(level):
    return np.full((4, 4, 3), level, np.float32)


def turn(text, **more):
    given = {"source": "original", "prompt": text, "model": "m", "fingerprint": "f"}
    return Turn(instruction=text, output=f"/out/{text}.png", **(given | more))


def test_the_order_is_by_mean_place_whatever_the_units():
    bright = {"bright": lambda p: float(p.mean()), "dark": lambda p: -1000 * float(p.mean())}

    assert rank([grey(0.1), grey(0.9)], {"bright": bright["bright"]}).order == (1, 0)
    assert rank([grey(0.1), grey(0.9)], bright).order == (0, 1)  # a tie keeps the order


def test_a_score_that_is_no_number_comes_last():
    judge = {"odd": lambda p: float("nan") if p.mean() > 0.5 else -1e9}

    assert rank([grey(0.9), grey(0.1)], judge).order == (1, 0)


def test_without_judges_the_order_stays():
    assert rank([grey(0.1), grey(0.2)], {}).order == (0, 1)
    assert rank([], {}).order == ()


def test_a_session_survives_its_file(tmp_path):
    file = tmp_path / "a.session.json"
    first = Session("a.png", "aa").add(turn("warmer"))
    first.save(file)

    assert load_session(file, photo=tmp_path / "a.png", sha256="aa") == first


def test_a_photo_without_a_session_starts_one(tmp_path):
    assert load_session(tmp_path / "none", photo=tmp_path / "a.png", sha256="aa").turns == ()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 2, "photo": "a", "sha256": "aa", "turns": []}', "\xff"]
)
def test_a_file_that_is_no_session_is_an_error(tmp_path, text):
    (tmp_path / "s").write_bytes(text.encode("latin-1"))

    with pytest.raises(SettingsError):
        load_session(tmp_path / "s", photo=tmp_path / "a.png", sha256="aa")


def test_what_was_taken_back_is_kept_on_file_and_asked_no_more():
    two = Session("a", "aa").add(turn("one")).add(turn("two"))

    back = two.reject_last()

    assert [t.instruction for t in back.turns] == ["one", "two"]
    assert back.prompt("three").splitlines()[1:] == ["1. one", "2. three"]
    assert str(back.last_output()) == "/out/one.png"
    with pytest.raises(InputError):
        back.reject_last().reject_last()


def test_the_same_instruction_again_is_the_same_turn():
    one = Session("a", "aa").add(turn("one"))

    assert one.reopen("one").turns == ()
    assert one.reopen("two") == one
