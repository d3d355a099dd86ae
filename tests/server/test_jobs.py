"""The queue in front of the workers: turns, places, when a worker dies, when all stops."""

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from verax.server import Problem
from verax.server.queue import WorkQueue, run_limited, worker_process


def one_worker(waiting=64):
    return WorkQueue(lambda: ThreadPoolExecutor(1), 1, waiting)


def test_clients_take_turns():
    order = []

    async def play():
        jobs = one_worker()
        busy = asyncio.create_task(jobs.run("hog", time.sleep, 0.05))
        await asyncio.sleep(0)
        jobs_in_order = [("hog", i) for i in range(4)] + [("ada", 0), ("bob", 0)]
        await asyncio.gather(
            busy, *(jobs.run(who, order.append, (who, i)) for who, i in jobs_in_order)
        )
        await jobs.close()

    asyncio.run(play())

    assert [who for who, _ in order] == ["hog", "ada", "bob", "hog", "hog", "hog"]


def test_one_client_cannot_fill_the_line():
    async def play():
        jobs = one_worker(waiting=20)
        tasks = [asyncio.create_task(jobs.run("hog", time.sleep, 0)) for _ in range(100)]
        await asyncio.sleep(0)
        held = jobs.waiting
        other = asyncio.create_task(jobs.run("ada", time.sleep, 0))
        await other
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await jobs.close()
        return held, [t for t in results if t is not None]

    held, refused = asyncio.run(play())

    assert held == 16  # four places in five
    assert len(refused) == 100 - 16 - 1
    assert {(r.status, r.headers["retry-after"].isdigit()) for r in refused} == {(429, True)}


def test_a_job_that_waits_is_dropped_when_its_client_leaves():
    done = []

    async def play():
        jobs = one_worker()
        busy = asyncio.create_task(jobs.run("ada", time.sleep, 0.05))
        task = asyncio.create_task(jobs.run("ada", done.append, 1))
        await asyncio.sleep(0.01)
        task.cancel()
        await busy
        await jobs.close()

    asyncio.run(play())

    assert done == []


def test_what_runs_is_finished_and_what_waits_is_sent_away_at_the_stop():
    async def play():
        jobs = one_worker()
        runs = asyncio.create_task(jobs.run("ada", lambda: time.sleep(0.1) or "done"))
        waits = asyncio.create_task(jobs.run("ada", time.sleep, 0))
        await asyncio.sleep(0.01)
        jobs.stop()
        await jobs.close()
        with pytest.raises(Problem) as late:
            await jobs.run("ada", time.sleep, 0)
        return await runs, waits.exception().status, late.value.status

    assert asyncio.run(play()) == ("done", 503, 503)


def test_a_worker_that_dies_takes_only_its_own_job_with_it():
    async def play():
        jobs = WorkQueue(worker_process, 2, 64)
        bad = asyncio.create_task(jobs.run("ada", os._exit, 3))
        good = [asyncio.create_task(jobs.run("bob", time.sleep, 0.1)) for _ in range(3)]
        results = await asyncio.gather(bad, *good, return_exceptions=True)
        await jobs.close()
        return results

    bad, *good = asyncio.run(play())

    assert bad.status == 500
    assert good == [None, None, None]


def test_work_that_never_ends_is_ended():
    async def play():
        jobs = WorkQueue(worker_process, 1, 64)
        with pytest.raises(Problem) as stuck:
            await jobs.run("ada", run_limited, time.sleep, 1, 60)
        after = await jobs.run("ada", os.getpid)
        await jobs.close()
        return stuck.value.status, after

    status, after = asyncio.run(play())

    assert status == 500
    assert after != os.getpid()


def test_workers_do_not_outlive_a_server_that_was_killed(server_process, photo):
    import httpx2

    address, process = server_process
    files = {"image": ("p.png", photo)}
    httpx2.post(f"{address}/v1/images/edits", data={"prompt": ""}, files=files, timeout=60)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        pytest.skip("children of a process are only listed on Linux")
    workers = [int(pid) for pid in children.read_text().split()]
    process.kill()
    process.wait()
    for _ in range(100):
        left = [pid for pid in workers if Path(f"/proc/{pid}").exists()]
        if not left:
            break
        time.sleep(0.1)

    assert len(workers) >= 2
    assert left == []
