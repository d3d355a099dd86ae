"""Presets are plans that work; a generator's own figures follow closed forms."""

from itertools import combinations

import numpy as np
import pytest

from commands import invoke
from verax.bench import plan as plans
from verax.bench.plan import preset, presets
from verax.errors import SettingsError, UnknownNameError
from verax.report.breakdown import best_of


@pytest.mark.parametrize("name", list(presets()))
def test_every_preset_is_a_plan_that_passes_its_check(name):
    plans.check(plans.Plan(**{"datasets": ("x",), **preset(name).fields}))


def test_the_control_preset_has_every_control():
    assert set(preset("prior").fields["priors"]) >= {"none", "foreign", "input", "own", "oracle"}


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="generator"):
        preset("generators")


def test_a_preset_runs_and_flags_go_before_it(dataset, tmp_path):
    command = ["bench", "run", "--preset", "generator", "--dataset", str(dataset), "--limit", "1",
               "--metric", "psnr", "-o", str(tmp_path / "run"), "--json"]  # fmt: skip
    done = invoke(*command)

    assert '"items": 2' in done.stdout
    assert "--method raw-prior" in invoke("bench", "methods").stdout
    assert "best of K" in invoke("bench", "presets").stdout


@pytest.mark.parametrize("higher", [True, False])
def test_best_of_k_is_the_mean_over_all_choices(higher):
    group, best = [3.0, 1.0, 4.0, 1.5, 9.0], max if higher else min
    expected = [np.mean([best(c) for c in combinations(group, k)]) for k in range(1, 6)]

    assert best_of([group], higher_is_better=higher) == pytest.approx(expected)


def test_a_plan_file_tells_all_and_takes_no_flags_beside_it(tmp_path):
    (tmp_path / "plan.toml").write_text('datasets = ["x"]\nmethods = ["identity"]\n')
    command = ["bench", "run", str(tmp_path / "plan.toml"), "-o", str(tmp_path), "--limit", "2"]

    with pytest.raises(SettingsError, match=r"options for limit"):
        invoke(*command)


def run(*words):
    return invoke("bench", "run", *words)


def test_the_study_says_all_that_is_missing_and_how_to_get_it(tmp_path):
    with pytest.raises(SettingsError) as raised:
        run("--preset", "study", "-o", tmp_path / "run")

    assert len(preset("study").fields["tasks"]) == 8
    for name in preset("study").fields["datasets"]:
        assert f"\n  {name}: " in str(raised.value)
    assert "verax data fetch o-haze" in str(raised.value)
    assert "--prior provider:MODEL --max-cost USD" in str(raised.value)
    output = invoke("bench", "presets").stdout
    assert "You need the eight sets" in output
    assert "--max-cost" in output


def test_a_misspelt_task_is_refused_with_the_right_one_named(dataset, tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean 'lowlight'"):
        run("--dataset", dataset, "--task", "lowlihgt", "--method", "identity",
            "-o", tmp_path / "run")  # fmt: skip

    assert not (tmp_path / "run").exists()


def test_simulated_priors_are_named_before_the_run_and_in_its_table(dataset, tmp_path):
    for role in ("input", "target"):
        (tmp_path / "set").mkdir(exist_ok=True)
        (tmp_path / "set" / role).symlink_to(dataset / role)
    done = run("--dataset", tmp_path / "set", "--task", "lowlight", "--method", "raw-prior",
               "--metric", "psnr", "--limit", "1", "-o", tmp_path / "run")  # fmt: skip

    assert "priors of 1 picture are simulated" in done.stderr
    assert "raw-prior (simulated)" in done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--max-cost", "1", "--batch"], "--max-cost and --batch: no service is called"),
        (["--gateway", "test"], "add --prior provider:MODEL"),
        (["--batch-poll", "5"], "no effect without --batch"),
        (["--address", "ray://x"], "--address needs --engine ray"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_say_nothing_without_another_are_refused(dataset, tmp_path, options, words):
    with pytest.raises(SettingsError, match=words):
        run("--dataset", dataset, "--task", "lowlight", "--method", "identity",
            "-o", tmp_path / "run", *options)  # fmt: skip


def test_a_flag_overrides_the_field_of_a_preset_also_with_nothing(tmp_path):
    from verax.cli.bench import PlanOptions, read_plan

    flags = PlanOptions(datasets=["x"], limit=0)

    assert read_plan(None, flags, preset("study")).limit == 0
    assert read_plan(None, PlanOptions(datasets=["x"]), preset("study")).limit == 100
