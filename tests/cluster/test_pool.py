"""The map over a cluster: order, errors, killed workers, how it ends. Its programs are real."""

import itertools
import logging.handlers
import os
import signal
import subprocess
import sys
import time

import pytest

from facealign.concurrency import cluster as module
from facealign.concurrency.cluster import Scheduler
from facealign.concurrency.pools import ordered_map, pool_of
from facealign.errors import FaceAlignError
from tests.cluster.conftest import ROOT
from tests.parallel_tasks import (
    Pair,
    Photo,
    fail_at_five,
    kill_once,
    nothing,
    pair_of,
    poison,
    refuse,
    refuse_at_five,
    square,
    where,
)


def test_results_come_in_the_order_of_the_items(cluster):
    scheduler = Scheduler(cluster.address)
    numbers = [number * number for number in range(100)]
    assert list(ordered_map(square, range(100), scheduler, nothing)) == numbers
    assert list(ordered_map(square, iter(range(100)), scheduler, nothing)) == numbers
    assert list(ordered_map(square, [], scheduler, nothing)) == []


def test_workers_compute_each_with_a_context_of_its_own(cluster):
    with pool_of(Scheduler(cluster.address), Pair, ("b", 3)) as pool:
        assert list(pool.ordered_map(pair_of, range(5))) == [("b", 3)] * 5
    made = list(ordered_map(where, range(40), Scheduler(cluster.address), nothing))
    assert {pid for pid, *_ in made} == set(cluster.workers().values())
    assert {threads for _, threads, _ in made} == {1}


def test_the_errors_are_the_caller_s_and_come_in_their_turn(cluster):
    scheduler = Scheduler(cluster.address)
    with pytest.raises(FaceAlignError, match="no such weights"):
        list(ordered_map(square, range(20), scheduler, refuse))
    results = ordered_map(refuse_at_five, range(20), scheduler, nothing)
    assert list(itertools.islice(results, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(FaceAlignError, match="five"):
        next(results)
    with pytest.raises(LookupError, match="five"):
        list(ordered_map(fail_at_five, range(20), scheduler, nothing))


def test_items_are_pulled_only_a_little_ahead(cluster):
    pulled = itertools.count()
    results = ordered_map(
        refuse_at_five, (next(pulled) + 10 for _ in itertools.count()), Scheduler(cluster.address), nothing
    )
    assert list(itertools.islice(results, 300)) == list(range(10, 310))
    results.close()
    assert next(pulled) <= 300 + module.SHARD_ITEMS * (module.SHARDS_A_WORKER * 2 + 1)


def test_a_killed_worker_loses_nothing_and_doubles_nothing(cluster, tmp_path):
    """It kills itself the first time that it meets an item; the nanny starts another one."""
    before = set(cluster.workers().values())
    items = [(number, tmp_path / "killed") for number in range(200)]
    assert list(ordered_map(kill_once, items, Scheduler(cluster.address), nothing)) == list(range(200))
    assert (tmp_path / "killed").exists()
    end = time.monotonic() + 30
    while len(after := set(cluster.workers().values())) < 2:
        assert time.monotonic() < end
    assert len(before & after) == 1


@pytest.mark.slow
def test_an_item_that_ends_every_worker_is_named(cluster):
    """Of its shard, alone; what came before it is kept."""
    items = [Photo(f"{number}.jpg") for number in range(60)]
    results = ordered_map(poison, items, Scheduler(cluster.address), nothing)
    assert list(itertools.islice(results, 50)) == [photo.name for photo in items[:50]]
    with pytest.raises(FaceAlignError, match=r"^photos/50\.jpg: 4 workers ended.*Remove it"):
        next(results)
    assert list(ordered_map(square, range(100), Scheduler(cluster.address), nothing))[99] == 99 * 99


def test_a_scheduler_that_is_not_there_is_one_line(monkeypatch, store):
    """Nothing, what is no address, another service."""
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.7)
    formless = ("foo", "", "tcp://127.0.0.1", "http://127.0.0.1:80", "tcp://h:abc", "tls://127.0.0.1:1")
    there = store["AWS_ENDPOINT_URL_S3"].replace("http", "tcp")
    began = time.monotonic()
    for address in ("tcp://127.0.0.1:1", "tcp://nowhere.invalid:8786", "ftp:/nowhere", there, *formless):
        with pytest.raises(FaceAlignError, match=r"no Dask scheduler answers.*`dask scheduler`") as caught:
            list(ordered_map(square, range(3), Scheduler(address), nothing))
        assert str(caught.value).startswith(f"{address}: ")
        assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 3 * 0.7 + 5


def test_a_worker_s_address_is_not_a_scheduler_s(cluster):
    with pytest.raises(FaceAlignError, match=r"no Dask scheduler answers \(something else is there"):
        list(ordered_map(square, range(3), Scheduler(min(cluster.workers())), nothing))


def test_no_worker_one_of_many_threads_and_a_lost_scheduler(own_cluster, monkeypatch):
    scheduler = Scheduler(own_cluster.address)
    monkeypatch.setattr(module, "LOST_SECONDS", 1.0)
    with pytest.raises(FaceAlignError, match="no worker for 1 s; start some"):
        list(ordered_map(square, range(3), scheduler, nothing))
    own_cluster.add_workers(1, threads=2)
    with pytest.raises(FaceAlignError, match=r"a worker with 2 threads.*--nthreads 1 --nworkers 2"):
        list(ordered_map(square, range(3), scheduler, nothing))
    heard = logging.handlers.BufferingHandler(1000)
    logging.getLogger("distributed.client").addHandler(heard)
    monkeypatch.setattr(module, "CONNECT_SECONDS", 2.0)

    def items():  # which are asked for when it is connected
        os.kill(own_cluster.scheduler.pid, signal.SIGKILL)
        yield from range(100)

    with pytest.raises(FaceAlignError, match=r"the scheduler (is|was) lost"):
        list(ordered_map(where, items(), scheduler, nothing))
    logging.getLogger("distributed.client").removeHandler(heard)
    assert heard.buffer == []


@pytest.mark.slow
def test_a_scheduler_that_is_killed_is_one_line(own_cluster):
    program = (
        "import sys\n"
        "from facealign.concurrency.cluster import Scheduler\n"
        "from facealign.concurrency.pools import ordered_map\n"
        "from facealign.console import run\n"
        "from tests.parallel_tasks import nothing, where\n"
        "def items():\n"
        "    while True:\n"
        "        yield print('connected', flush=True)\n"
        "def main():\n"
        "    list(ordered_map(where, items(), Scheduler(sys.argv[1]), nothing))\n"
        "run(main)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, own_cluster.address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    process.stdout.readline()
    os.kill(own_cluster.scheduler.pid, signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert len(said.splitlines()) == 1, said
    assert said.startswith(f"error: {own_cluster.address}: the scheduler ")


def test_a_worker_of_another_version_or_without_the_inputs_is_refused(cluster, monkeypatch, tmp_path):
    scheduler = Scheduler(cluster.address)
    ours = module.versions()
    for name in ours:
        monkeypatch.setattr(module, "versions", lambda name=name: {**ours, name: "0.0"})
        with pytest.raises(FaceAlignError, match=f"has {name} .*, the client 0.0; install the same there"):
            list(ordered_map(square, range(3), scheduler, nothing))
    monkeypatch.undo()
    with pytest.raises(FaceAlignError, match=f"has no {tmp_path}/gone; share its folder"):
        list(ordered_map(square, range(3), Scheduler(cluster.address, (tmp_path / "gone",)), nothing))
    weights = tmp_path / "weights"
    weights.write_text("ours")
    monkeypatch.setattr(module, "digest_of", lambda path: "other")
    with pytest.raises(FaceAlignError, match=f"its {weights} has other contents"):
        list(ordered_map(square, range(3), Scheduler(cluster.address, (weights,)), nothing))
