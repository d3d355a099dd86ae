import numpy as np
import pytest
from scipy import stats

from verax import statistics
from verax.errors import InputError


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_interval_of_the_mean_is_scipys_percentile_bootstrap():
    values = rng(1).normal(25, 3, 40)
    ours = statistics.mean_interval(values, rng=rng())
    scipys = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20000, rng=rng(2)
    ).confidence_interval

    assert (ours.low, ours.high) == pytest.approx((scipys.low, scipys.high), abs=0.06)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    hits = 0
    for seed in range(300):
        interval = statistics.mean_interval(rng(seed).normal(0, 1, 30), rng=rng(seed + 1000))
        hits += interval.low <= 0 <= interval.high

    assert 0.89 <= hits / 300 <= 0.98  # the percentile interval is a little short for n = 30


def test_a_single_value_has_no_interval():
    interval = statistics.mean_interval([3.0], rng=rng())

    assert (interval.mean, np.isnan(interval.low), np.isnan(interval.high)) == (3.0, True, True)


def test_a_planted_difference_of_03_db_among_30_pictures_is_found():
    hits = 0
    for seed in range(100):
        random = rng(seed)
        base = random.normal(25, 4, 30)
        hits += (
            statistics.compare(base + random.normal(0.3, 0.35, 30), base, rng=random).p_value < 0.05
        )

    assert hits >= 95


@pytest.mark.parametrize("noise", ["normal", "laplace", "standard_t"])
def test_a_planted_null_raises_false_alarms_in_at_most_5_percent(noise):
    alarms = 0
    for seed in range(1000):
        random = rng(seed)
        drawn = (
            random.standard_t(3, 30) if noise == "standard_t" else getattr(random, noise)(size=30)
        )
        p = max(statistics.sign_flip_p(drawn, rng=random, draws=999), statistics.wilcoxon_p(drawn))
        alarms += p < 0.05

    assert alarms <= 50


def test_equal_methods_have_p_one_and_half_the_wins():
    same = statistics.compare([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], rng=rng())

    assert (same.p_value, same.wins, same.difference.mean) == (1.0, 0.5, 0.0)


def test_the_sign_flip_p_of_all_positive_differences_is_two_in_two_to_the_n():
    p = statistics.sign_flip_p(np.full(5, 1.0), rng=rng(), draws=200_000)

    assert p == pytest.approx(2 / 2**5, abs=0.002)


def test_wilcoxons_p_is_scipys_with_ties_and_zeros():
    rng = np.random.default_rng(5)
    for n in range(2, 40):
        values = np.round(rng.normal(0.2, 1, n) * 2) / 2
        values[0] = 0.5  # not all zero
        for drawn in (values, values + rng.normal(0, 1e-3, n)):
            p = stats.wilcoxon(drawn, zero_method="pratt", method="approx").pvalue
            assert statistics.wilcoxon_p(drawn) == pytest.approx(p, rel=1e-12)


def test_holm_adjusts_as_in_his_paper():
    # worked example: sorted p .01 .013 .014 .04 times 4 3 2 1, made monotone
    assert statistics.holm([0.01, 0.04, 0.014, 0.013]) == pytest.approx([0.04, 0.04, 0.04, 0.04])
    assert statistics.holm([0.001, 0.5]) == pytest.approx([0.002, 0.5])


def test_ranks_are_certain_when_one_method_always_wins():
    base = rng(3).normal(25, 4, 20)
    shares = statistics.rank_shares(np.stack([base, base + 1, base - 1], axis=1), rng=rng())

    np.testing.assert_array_equal(shares, [[0, 1, 0], [1, 0, 0], [0, 0, 1]])


def test_ranks_turn_round_where_lower_is_better():
    table = np.array([[1.0, 2.0], [1.0, 2.0]])
    low = statistics.rank_shares(table, rng=rng(), higher_is_better=False)

    assert low[0, 0] == 1


def test_large_sets_agree_with_resampling_of_small_parts(monkeypatch):
    table = rng().normal([20.0, 20.1], [3.0, 4.0], size=(1200, 2))
    normal = np.quantile(statistics.resampled_means(table, rng=rng()), [0.025, 0.975], axis=0)
    p_normal = statistics.sign_flip_p(table[:, 0] - table[:, 1], rng=rng())
    monkeypatch.setattr(statistics, "LARGE", 10**9)

    drawn = np.quantile(statistics.resampled_means(table, rng=rng()), [0.025, 0.975], axis=0)
    assert normal == pytest.approx(drawn, abs=0.02)
    assert p_normal == pytest.approx(
        statistics.sign_flip_p(table[:, 0] - table[:, 1], rng=rng()), abs=0.03
    )


def test_the_spread_over_repeats_is_the_pooled_standard_deviation():
    assert statistics.repeat_spread(np.array([[1.0, 3.0], [5.0, 5.0]])) == pytest.approx(1.0)


def test_missing_values_are_refused_not_averaged():
    with pytest.raises(InputError, match="finite"):
        statistics.mean_interval([1.0, float("nan")], rng=rng())


def scenes_of(count, per):
    return np.repeat(np.arange(count), per), [f"s{n}" for n in np.repeat(np.arange(count), per)]


def test_pictures_of_one_scene_make_false_alarms_unless_scenes_are_given():
    """Ten pictures each of ten scenes, scene and picture differ alike: a planted null."""
    places, names = scenes_of(10, 10)
    alarms = {"pictures": 0, "scenes": 0}
    for seed in range(200):
        random = rng(seed)
        null = random.normal(0, 1, 10)[places] + random.normal(0, 0.5, 100)
        sums, counts = statistics.by_scene(null[:, None], names)
        for name, values in (("pictures", null), ("scenes", sums[:, 0])):
            p = max(
                statistics.sign_flip_p(values, rng=random, draws=499),
                statistics.wilcoxon_p(values),
            )
            alarms[name] += p < 0.05

    assert set(counts) == {10.0}
    assert alarms["pictures"] > 60
    assert alarms["scenes"] <= 16  # 5 % of 200, and three standard deviations are 9


def test_an_interval_over_scenes_covers_the_truth():
    places, names = scenes_of(30, 8)
    hits = 0
    for seed in range(200):
        random = rng(seed)
        values = random.normal(0, 1, 30)[places] + random.normal(0, 0.5, 240)
        interval = statistics.mean_interval(values, rng=random, scenes=names)
        hits += interval.low <= 0 <= interval.high

    assert 0.88 <= hits / 200 <= 0.99
    assert (interval.n, interval.scenes) == (240, 30)


def test_scenes_of_one_picture_each_change_nothing():
    values = rng(1).normal(25, 3, 40)
    names = [f"s{n}" for n in range(40)]

    assert statistics.mean_interval(values, rng=rng(), scenes=names) == statistics.mean_interval(
        values, rng=rng()
    )


def test_many_scenes_of_varying_size_agree_with_resampling(monkeypatch):
    random = rng(2)
    sizes = random.integers(1, 6, 1200)
    names = [f"s{n}" for n in np.repeat(np.arange(1200), sizes)]
    values = random.normal(20, 3, 1200)[np.repeat(np.arange(1200), sizes)][:, None]
    normal = np.quantile(
        statistics.resampled_means(values, rng=rng(), scenes=names), [0.025, 0.975]
    )
    monkeypatch.setattr(statistics, "LARGE", 10**9)
    drawn = np.quantile(statistics.resampled_means(values, rng=rng(), scenes=names), [0.025, 0.975])

    assert normal == pytest.approx(drawn, abs=0.02)
