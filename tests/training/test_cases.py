import numpy as np
import pytest
import toy

from verax.image import to_uint8
from verax.training import cases
from verax.training.library import Library, Scene
from verax.training.loop import train
from verax.training.nafnet import TASKS


@pytest.fixture(scope="module")
def library():
    return Library([Scene(to_uint8(toy.scene(k, (96, 128)))) for k in range(3)])


@pytest.fixture(scope="module")
def made(library):
    return cases.prepare(library, {"lowlight": 1.0, "noise": 1.0}, 3, 6)


def test_a_case_depends_on_seed_and_index_alone(library, made):
    again = cases.prepare(library, {"lowlight": 1.0, "noise": 1.0}, 3, 2)

    assert all(np.array_equal(a.inputs, b.inputs) for a, b in zip(again, made, strict=False))
    assert not np.array_equal(made[0].inputs, made[1].inputs)


def test_a_case_holds_one_degradation_on_the_grid_of_its_reference(made):
    for case in made:
        assert case.inputs.shape == (96, 128, 19)
        assert case.reference.shape == (96, 128, 3)
        assert np.count_nonzero(case.severity) == 1
        assert case.severity[[TASKS.index("lowlight"), TASKS.index("noise")]].any()


def test_without_a_usable_prior_there_is_neither_prior_nor_trust(library):
    photo, base = toy.scene(0, (96, 128)), toy.scene(1, (96, 128))
    for prior in (None, photo):  # absent, or the photo again
        planes = cases.up_to_the_network(photo, base, prior)

        assert np.array_equal(planes[..., 3:6], base)
        assert np.array_equal(planes[..., 6:9], base)
        assert not planes[..., 9:].any()


def test_cases_come_back_as_they_were_kept(made, tmp_path):
    cases.save(made, tmp_path / "cases.npz")

    for kept, case in zip(cases.load(tmp_path / "cases.npz"), made, strict=True):
        assert np.array_equal(kept.inputs, case.inputs)
        assert np.array_equal(kept.reference, case.reference)
        assert np.array_equal(kept.severity, case.severity)


def test_a_fusion_network_trains_on_its_cases_and_goes_on_from_the_kept_ones(tmp_path):
    data = toy.folder(tmp_path / "photos")
    recipe = toy.recipe(data, network="fusion", cases=2)
    first = train(recipe, tmp_path / "run")
    kept = (tmp_path / "run" / "cases.npz").read_bytes()

    assert first.step == 2
    assert train(toy.recipe(data, network="fusion", cases=2, steps=3), tmp_path / "run").step == 3
    assert (tmp_path / "run" / "cases.npz").read_bytes() == kept
