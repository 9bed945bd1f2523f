"""Where work is done: room on nodes, actors that are lost, storage that nodes do not share. Ray in this process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from started import ROOT, until

from pipelines import cluster, ray_jobs


@pytest.mark.parametrize(
    ("wanted", "nodes", "threads", "expected"),
    [
        ("auto", [{"CPU": 8}], 2, (1, False)),
        (4, [{"CPU": 8}], 2, (4, False)),
        ("auto", [{}, {"CPU": 16, "GPU": 4}, {"CPU": 4, "GPU": 4}], 2, (6, True)),
        (5, [{}, {"CPU": 5}, {"CPU": 7}], 2, (5, False)),
    ],
)
def test_workers_are_on_one_node_each(wanted, nodes, threads, expected):
    assert cluster.room(wanted, nodes, threads) == expected


@pytest.mark.parametrize(
    ("wanted", "nodes", "threads", "told"),
    [
        (
            "auto",
            [{"CPU": 1}, {"CPU": 1}],
            2,
            "a worker claims 2 CPU cores of one node, and there are 2 CPU cores and 0 GPUs on 2",
        ),
        (
            "auto",
            [{"CPU": 2, "GPU": 1}],
            4,
            "a worker claims 4 CPU cores and a GPU of one node, .*smaller cluster.cpus_per_worker",
        ),
        (
            6,
            [{"CPU": 5}, {"CPU": 7}],
            2,
            "cluster.num_workers is 6; there is room for 1 to 5 workers on 12 CPU cores .* 2 nodes",
        ),
        (0, [{"CPU": 2}], 1, "cluster.num_workers is 0; there is room for 1 to 2 workers on 2 CPU cores and 0 GPUs$"),
    ],
)
def test_workers_that_fit_on_no_node_are_refused(wanted, nodes, threads, told):
    with pytest.raises(ValueError, match=told):
        cluster.room(wanted, nodes, threads)


def test_a_lost_node_is_told_of_once_and_again_after_another_loss(monkeypatch, capsys):
    """On a cluster Train waits for another node, up to an hour, and says nothing."""
    two, one = [{"CPU": 2}, {"CPU": 2}], [{"CPU": 2}]
    seen = [two, one, None, one, [], two, one, two]

    def nodes():
        now = seen.pop(0) if len(seen) > 1 else seen[0]
        if now is None:
            raise ConnectionError("the head is away for a moment")
        return now

    monkeypatch.setattr(ray_jobs, "nodes", nodes)
    monkeypatch.setattr(cluster, "WATCH", 0.01)
    plain = {"storage": "/", "num_workers": 2, "threads": 2, "gpu": False, "alone": False, "own": False}
    monkeypatch.setattr(ray_jobs, "by_group", lambda *_: until(lambda: len(seen) == 1))
    cluster.RayCluster.joined(plain)(print, [{}])
    told = capsys.readouterr().out.splitlines()
    assert [line.split("room for ")[1].split(";")[0] for line in told] == ["1", "0", "1"]
    assert told[0].startswith("a node was lost: 2 workers are wanted, and the nodes that are left have room for 1; ")


@pytest.mark.slow
def test_cores_are_those_that_this_process_may_use():
    one = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    line = [sys.executable, "-c", one + "from pipelines import cluster; print(cluster.num_cores())"]
    assert subprocess.run(line, cwd=ROOT, capture_output=True, text=True).stdout == "1\n"


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    settings = {"cluster": {"kind": "local", "num_workers": 2, "cpus_per_worker": 1}}
    with cluster.connect(settings | {"work_dir": str(tmp_path_factory.mktemp("work"))}) as launch:
        launch.start()
        yield launch


@pytest.fixture
def fragile():
    """A worker whose process is killed at the first try, or at each; made here, or Ray's processes would import this file."""

    def work(job: dict) -> None:
        with open(job["log"], "a") as file:
            file.write("x")
        if job["fatal"] == "always" or (job["fatal"] and len(Path(job["log"]).read_text()) == 1):
            os.kill(os.getpid(), 9)

    return work


def jobs(folder: Path, *fatal) -> list[dict]:
    return [{"log": str(folder / str(number)), "fatal": one} for number, one in enumerate(fatal)]


@pytest.mark.slow
def test_a_lost_actor_s_job_is_another_s(launch, fragile, tmp_path):
    launch(fragile, jobs(tmp_path, "", "once", "", "once", ""), on="pool")
    assert [len((tmp_path / str(number)).read_text()) for number in range(5)] == [1, 2, 1, 2, 1]


@pytest.mark.slow
def test_a_job_that_kills_whoever_does_it_ends_the_pool(launch, fragile, tmp_path):
    import ray

    with pytest.raises(ray.exceptions.ActorDiedError):
        launch(fragile, jobs(tmp_path, "", "always"), on="pool")
    assert (tmp_path / "1").read_text() == "x" * ray_jobs.TRIES


@pytest.mark.slow
def test_what_a_dead_actor_held_is_freed_and_what_was_to_outlive_it_is_not(launch):
    import ray
    from ray.util.placement_group import placement_group, placement_group_table

    class Maker:
        def make(self, lifetime: str | None) -> str:
            return placement_group([{"CPU": 1}], lifetime=lifetime).id.hex()

    def states() -> list[str]:
        table = placement_group_table()
        return [table[one]["state"] for one in made]

    maker = ray.remote(num_cpus=0)(Maker).remote()
    made = [ray.get(maker.make.remote(lifetime)) for lifetime in (None, "detached")]
    ray_jobs.free_the_dead()
    until(lambda: states() == ["CREATED", "CREATED"], 60)
    ray.kill(maker)

    def freed() -> bool:
        ray_jobs.free_the_dead()
        return states()[0] == "REMOVED"

    until(freed, 60)
    assert states() == ["REMOVED", "CREATED"]


@pytest.mark.slow
def test_a_work_dir_that_a_node_does_not_see_is_refused(launch, tmp_path, monkeypatch):
    ray_jobs.check_shared(tmp_path / "new" / "work")
    assert not (tmp_path / "new" / "work").exists()
    ray_jobs.check_shared(tmp_path)
    assert not list(tmp_path.glob("seen-*"))
    monkeypatch.setattr(ray_jobs, "seen", lambda path: not Path(path).exists())  # this machine's one node sees it
    with pytest.raises(ValueError, match=r"which \d+\.\d+\.\d+\.\d+ do not see; expected storage that all nodes share"):
        ray_jobs.check_shared(tmp_path)
    assert not list(tmp_path.glob("seen-*"))
    with pytest.raises(ValueError, match="in Ray's copy of the code, which may be removed; expected work_dir=/shared"):
        ray_jobs.check_shared(tmp_path / "_ray_pkg_0a1b" / "outputs")
