"""Ray: the same plan gives the same record, and a poisoned picture is one failed row."""

import shutil

import pytest

from verax.bench import open_run
from verax.bench import plan as plans
from verax.bench.runner import run
from verax.bench.work import expand
from verax.datasets.registry import load

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]


@pytest.fixture(scope="module")
def cluster():
    """Two workers on this machine."""
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100_000_000)
    yield
    ray.shutdown()


def rows_of(folder):
    record = open_run(folder)
    outputs = {r.key: (r.outcome, r.sha256) for r in record.outputs()}
    scores = {(r.key, r.metric): r.value for r in record.scores()}
    record.close()
    return outputs, scores


def test_two_workers_give_the_record_of_one_thread(cluster, tmp_path, dataset):
    copy = tmp_path / "data"
    shutil.copytree(dataset, copy)
    broken = copy / "input" / "0002.png"
    broken.write_bytes(broken.read_bytes()[:90])
    plan = plans.Plan((str(copy),), ("identity", "raw-prior", "full"), tasks=("dark",))
    works = expand(plan, [load(str(copy), task="dark")])
    for engine in ("threads", "ray"):
        summary = run(plan, works, tmp_path / engine, engine=engine, workers=2)

    assert summary.outcomes["failed"] == 3
    assert summary.items == 12
    assert rows_of(tmp_path / "ray") == rows_of(tmp_path / "threads")
    assert run(plan, works, tmp_path / "ray", engine="ray", workers=2).new_outputs == 0
