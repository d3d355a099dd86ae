"""What somebody meets who has one photo and has never used Verax."""

import json
import sys

import numpy as np
import pytest
from PIL import Image as PillowImage

from commands import verax
from verax import image as images
from verax.cli import KINDS
from verax.cli.restore_jobs import sentence
from verax.errors import extra_packages, install_command


def test_a_second_picture_of_the_same_scene_is_the_prior(pair, tmp_path):
    photo, prior = pair

    done = verax("restore", photo, prior, "-o", tmp_path / "out.png", "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["prior"] == "used"
    assert "is taken as the prior of" in done.stderr


def test_a_second_picture_of_another_scene_is_a_photo(pair, tmp_path, scene):
    photo, _ = pair
    images.write(tmp_path / "other.png", np.ascontiguousarray(scene[::-1, ::-1]))

    done = verax("restore", photo, tmp_path / "other.png", "-o", tmp_path / "out", "--json")

    assert len(done.stdout.splitlines()) == 2
    assert "if it is a prior, use --prior" in done.stderr


def test_who_knows_better_says_that_the_second_picture_is_the_prior(pair, tmp_path, scene):
    photo, _ = pair
    images.write(tmp_path / "other.png", np.ascontiguousarray(scene[::-1, ::-1]))

    done = verax(
        "restore",
        photo,
        tmp_path / "other.png",
        "--accept-prior",
        "-o",
        tmp_path / "a.png",
        "--json",
    )

    assert json.loads(done.stdout)["prior"] == "used"


def test_a_second_picture_that_a_camera_took_is_a_photo(pair, tmp_path):
    photo, prior = pair
    exif = PillowImage.Exif()
    exif[0x0110] = "EOS 5D"
    with PillowImage.open(prior) as picture:
        picture.save(tmp_path / "burst.jpg", exif=exif)

    done = verax("restore", photo, tmp_path / "burst.jpg", "-o", tmp_path / "out", "--json")

    assert len(done.stdout.splitlines()) == 2
    assert "taken by a camera (EOS 5D)" in done.stderr


def test_the_result_is_a_sentence_and_the_figures_wait_for_v(pair, tmp_path):
    photo, prior = pair
    command = ("restore", photo, "--prior", prior, "-o", tmp_path / "out.png")

    plain, verbose = verax(*command).stdout, verax(*command, "-v").stdout

    assert "Brightened" in plain
    assert "with the light" in plain
    assert "of the detail is the generator's" in plain
    assert "p = " not in plain
    assert "p = " in verbose


def test_a_prior_left_out_is_named_with_its_reason_and_used_for_who_knows_better(
    pair, tmp_path, scene
):
    photo, _ = pair
    foreign = tmp_path / "foreign.png"
    images.write(foreign, np.ascontiguousarray(scene[::-1, ::-1]))

    done = verax("restore", photo, "--prior", foreign, "-o", tmp_path / "out.png")

    assert "The prior was left out: the prior is rotated by 180 degrees" in done.stdout
    assert done.returncode == 0

    hint = verax(
        "restore", photo, "--prior", foreign, "--accept-prior", "--json", "-o", tmp_path / "b.png"
    )
    record = json.loads(hint.stdout)
    assert record["prior"] == "used"
    assert "because you say" in record["registration"]["reason"]


def test_a_folder_run_names_priors_left_out_and_strict_says_so(pair, tmp_path, scene):
    photo, prior = pair
    for folder in ("photos", "priors"):
        (tmp_path / folder).mkdir()
    for name in ("good", "bad"):
        (tmp_path / "photos" / f"{name}.png").write_bytes(photo.read_bytes())
    (tmp_path / "priors" / "good.png").write_bytes(prior.read_bytes())
    images.write(tmp_path / "priors" / "bad.png", np.ascontiguousarray(scene[::-1, ::-1]))

    done = verax("restore", tmp_path / "photos", "--prior", tmp_path / "priors", "--strict")

    assert "bad.png: " in done.stderr
    assert "good.png: " not in done.stderr
    assert done.returncode == 3


def test_a_run_without_one_result_leaves_no_folder(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"no picture")

    done = verax("restore", tmp_path / "photos", "-o", tmp_path / "out")

    assert done.returncode == 1
    assert not (tmp_path / "out").exists()
    assert "written to" not in done.stderr

    none = verax("restore", "a.jpg", "b.png", cwd=tmp_path)
    assert none.returncode == 2
    assert "a.jpg, b.png: expected a picture, found none" in none.stderr
    assert not (tmp_path / "restored").exists()


def test_a_dry_run_leaves_nothing_behind(pair, tmp_path):
    photo, _ = pair
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(photo.read_bytes())

    done = verax("restore", tmp_path / "photos", "--dry-run", "-o", tmp_path / "out")

    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--max-cost", "1"], "add --model"),
        (["--quality", "high", "--run", "x"], "--quality and --run"),
        (["--batch-poll", "5"], "--batch"),
        (["--accept-prior"], "there is no prior"),
        (["--recursive"], "name a folder"),
        (["--model", "m", "--prior", "PRIOR"], "leave one of them out"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_contradict_each_other_are_refused(pair, options, word):
    photo, prior = pair

    done = verax("restore", photo, *[str(prior) if o == "PRIOR" else o for o in options])

    assert done.returncode == 2
    assert word in done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_every_list_of_names_says_what_each_means(kind):
    assert KINDS[kind]()
    assert all(KINDS[kind]().values())


@pytest.mark.parametrize("command", [[], ["restore"], ["bench", "run"]], ids=" ".join)
def test_help_has_a_short_form_and_cuts_no_line(command):
    done = verax(*command, "-h")

    assert done.returncode == 0
    assert "..." not in done.stdout.replace("PHOTO...", "").replace("high ...", "").replace(
        "...  ", ""
    )


def test_restore_shows_its_options_in_panels():
    words = verax("restore", "-h").stdout

    places = [words.index(name) for name in ("--prior", "Prior ─", "Result ─", "Paid service ─")]
    assert places == sorted(places)


def record_of(believed, *, faults=(), task="", front=0.0, **more):
    """What `restore --json` prints, as far as its sentence needs it."""
    return {
        "prior": "used",
        "unchanged": False,
        "trust": {"photo": 0.5, "confirmed": 0.1, "light": 0.28, "generated": 0.12},
        "explanation": {"believed": believed, "task": task, "front": front},
        "faults": {"kinds": {kind: {"severity": 0.9, "certainty": 0.9} for kind in faults}},
        **more,
    }


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (record_of("haze", trust_map="trust.png"),
         "Haze removed with the light and contrast of the prior; 12 % of the detail is the "
         "generator's, marked in trust.png."),
        (record_of("darkness, blur", faults=["noise"]), "Noise removed, brightened, sharpened"),
        (record_of("haze, darkness"), "Brightened with"),
        (record_of("haze, darkness", faults=["haze"]), "Haze removed, brightened with"),
        (record_of("haze, a colour cast"), "Haze and the colour cast removed with"),
        (record_of("nothing", task="derain"), "Rain removed with"),
        (record_of("nothing", front=0.9), "What lay in front of the scene removed with"),
        (record_of("nothing"), "hardly anything was taken"),
        (record_of("", prior="none", faults=["lowlight"]), "Brightened by the embedded networks;"),
        (record_of("", prior="none"), "No fault found that the embedded networks correct;"),
        (record_of("", prior="none", faults=["lowlight"], unchanged=True), "Left unchanged:"),
        (record_of("", prior="none", restorer="dcp"), "Restored by dcp, without a prior;"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_the_sentence_says_what_was_done_and_how_much_is_the_generators(record, words):
    assert words in sentence(record)


def test_a_missing_extra_names_its_packages_one_by_one():
    requirements = [
        "numpy>=2",
        'torch>=2.8; extra == "train"',
        "verax[train]; extra == 'multi-gpu'",
        'lightning-fabric>=2.6; extra == "multi-gpu"',
    ]

    assert extra_packages("multi-gpu", requirements) == ["torch>=2.8", "lightning-fabric>=2.6"]
    assert extra_packages("nonesuch", requirements) == []


def test_the_install_command_is_that_of_the_environment():
    assert install_command("heic", prefix="/home/a/.local/share/pipx/venvs/verax").startswith(
        "pipx inject verax "
    )
    assert install_command("heic").startswith(f"{sys.executable} -m pip install ")


def test_the_listed_recipes_are_those_that_there_are():
    pytest.importorskip("torch")
    from verax.training import RECIPES

    assert set(KINDS["recipes"]()) == set(RECIPES)
