"""Where work is done: in this process (inline) or by Ray - one group of training workers, a pool of actors, or tasks.

The thin Ray module: `connect(settings)` gives the `launch` that stages.run takes. Ray starts with the first job, so that a run
that finds everything made never starts it. Progress and checkpoints are files in the stage's folder; only jobs travel.
"""

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import torch

from pipelines import ray_jobs

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
}
WATCH = 60  # seconds between two looks at a cluster's nodes
OWN = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}  # an actor that asks whether somebody takes this machine away


@contextmanager
def connect(settings: dict) -> Iterator["Inline | RayCluster"]:
    """A `launch` for the run; what was started is ended with the block.

    Raises:
        ValueError: more workers than there is room for, with the numbers.
    """
    block = settings["cluster"]
    if block["kind"] not in ("local", "auto", "inline"):
        raise ValueError(f"cluster.kind is {block['kind']}; expected one of cluster=local, auto, inline")
    if block["cpus_per_worker"] < 1:
        raise ValueError(f"cluster.cpus_per_worker is {block['cpus_per_worker']}; expected at least 1")
    launch = Inline(block) if block["kind"] == "inline" else RayCluster(block, Path(settings["work_dir"]).absolute())
    try:
        yield launch
    finally:
        launch.close()


class Inline:
    """A launch without Ray: the jobs one after another in this process. conf/cluster/inline."""

    num_workers, together = 1, False

    def __init__(self, block: dict):
        if block["num_workers"] not in (1, "auto"):
            raise ValueError(
                f"cluster=inline is one process; cluster.num_workers is {block['num_workers']}, expected 1"
            )
        self.threads = min(block["cpus_per_worker"], num_cores())

    def __call__(self, worker: Callable, jobs: list[dict], on: str = "group") -> None:
        here(worker, jobs, num_cores() if on == "cores" else self.threads)

    def close(self) -> None:
        pass


class RayCluster:
    """Ray: one that is started here with the first job, or a running one that is joined at once. conf/cluster/local, auto.

    Args:
        block: conf/cluster. work_dir: on a running one, where Train keeps its bookkeeping for the time of a launch.
    """

    together = True  # starting a group of workers takes 10 to 30 seconds

    def __init__(self, block: dict, work_dir: Path):
        self.storage, self.started, self.alone = work_dir / "ray", False, False
        self.own = block["kind"] == "local"
        self.threads = block["cpus_per_worker"]
        if block["kind"] == "auto":
            try:
                self._init(address="auto")
            except ConnectionError as error:
                raise ValueError(
                    f"cluster=auto: {str(error).splitlines()[0].rstrip('.')}. Is it running, and RAY_ADDRESS its address? Where "
                    "`ray start` said that token authentication is enabled: export RAY_AUTH_MODE=token (deploy/README.md)"
                ) from error
            self.num_workers, self.gpu = room(block["num_workers"], ray_jobs.nodes(), self.threads)
            ray_jobs.check_shared(work_dir)
        else:
            cores = num_cores()
            nodes = [{"CPU": cores, "GPU": torch.cuda.device_count()}]
            self.num_workers, self.gpu = room(block["num_workers"], nodes)
            self.threads = min(self.threads, max(1, cores // self.num_workers))
            self.alone = self.num_workers == 1

    def __call__(self, worker: Callable, jobs: list[dict], on: str = "group") -> None:
        """worker(job) for every job.

        Args:
            on: "group": in turn, on all ranks of one group of Train's workers. "pool": each on some actor of a pool. "cores": by
                tasks wherever a core is free, for work without a GPU; a worker alone on this machine leaves them to this
                process's threads, which need no start.
        """
        if not jobs:
            return
        if on == "cores" and self.alone:
            here(worker, jobs, num_cores())
            return
        self.start()
        by = {"group": ray_jobs.by_group, "pool": ray_jobs.by_actors, "cores": ray_jobs.by_tasks}[on]
        with self._telling_of_lost_nodes() if on != "cores" and not self.own else nullcontext():
            by(self, worker, [job | {"threads": self.threads} for job in jobs])

    @contextmanager
    def _telling_of_lost_nodes(self) -> Iterator[None]:
        """Says so where the nodes that are left have no room for the workers: Ray waits for another node without a word."""
        ended = threading.Event()

        def watch() -> None:
            before = self.num_workers
            while not ended.wait(WATCH):
                try:
                    now = slots(ray_jobs.nodes(), self.threads, self.gpu)
                except Exception:  # whatever keeps Ray from telling: the work itself says what is wrong
                    continue
                if now < min(before, self.num_workers):
                    left = f"{self.num_workers} workers are wanted, and the nodes that are left have room for {now}"
                    print(
                        f"a node was lost: {left}; the others wait for another node, a training up to an hour",
                        flush=True,
                    )
                before = now

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(1)  # what asks a head that is gone may not come back

    def start(self) -> None:
        """Start Ray here, unless it has been started or joined."""
        if not self.started:
            cores, gpus = num_cores(), torch.cuda.device_count()
            started = self._init(address="local", num_cpus=cores, num_gpus=gpus, include_dashboard=False)
            self.storage = Path(started["session_dir"]) / "train"  # not in work_dir, where a kill would leave it

    def tidy(self, name: str) -> None:
        """Remove the bookkeeping of Train or Tune under that name: what counts is in the stages' folders."""
        shutil.rmtree(self.storage / name, ignore_errors=True)
        with suppress(OSError):  # not empty: another command's, or gone
            self.storage.rmdir()

    def plain(self) -> dict:
        """What another process of the same Ray needs to launch likewise."""
        names = ("storage", "num_workers", "threads", "gpu", "alone", "own")
        return {name: getattr(self, name) for name in names} | {"storage": str(self.storage)}

    @classmethod
    def joined(cls, plain: dict) -> "RayCluster":
        """A launch in a process of Ray's own; it ends nothing."""
        launch = cls.__new__(cls)
        launch.__dict__ |= plain | {"storage": Path(plain["storage"]), "started": True}
        return launch

    def close(self) -> None:
        if self.started:
            import ray

            ray.shutdown()

    def _init(self, **options) -> dict:
        for name, value in (ENVIRONMENT | (OWN if self.own else {})).items():
            os.environ.setdefault(name, value)
        import ray

        self.started, before = True, signal.getsignal(signal.SIGTERM)
        info = ray.init(**options, logging_level="ERROR", log_to_driver=False).address_info
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # the command's, which closes what is open; Ray's ends at once
        os.environ["RAY_ADDRESS"] = info["address"]  # Train asks again; there may be other clusters
        return info


def here(worker: Callable, jobs: list[dict], threads: int) -> None:
    """worker(job) for every job, one after another in this process."""
    for job in jobs:
        worker(job | {"threads": threads})


def room(wanted: int | str, nodes: list[dict], threads: int = 1) -> tuple[int, bool]:
    """How many training workers, and whether each has a GPU: "auto" is the GPUs, else 1.

    Args:
        nodes: each one's "CPU" and "GPU", a worker being on one of them. threads: CPU cores that each worker claims.
    Raises:
        ValueError: when they do not fit, with the numbers.
    """
    cpus, gpus = (int(sum(node.get(name, 0) for node in nodes)) for name in ("CPU", "GPU"))
    most = slots(nodes, threads, gpus > 0)
    have = f"{cpus} CPU cores and {gpus} GPUs" + f" on {len(nodes)} nodes" * (len(nodes) > 1)
    if most < 1:
        raise ValueError(
            f"a worker claims {threads} CPU cores{' and a GPU' * (gpus > 0)} of one node, and there are {have}; expected a smaller "
            "cluster.cpus_per_worker"
        )
    count = (most if gpus else 1) if wanted == "auto" else wanted
    if not isinstance(count, int) or not 1 <= count <= most:
        raise ValueError(f"cluster.num_workers is {wanted}; there is room for 1 to {most} workers on {have}")
    return count, gpus > 0


def slots(nodes: list[dict], threads: int, gpu: bool) -> int:
    """How many workers of so many CPU cores, and a GPU each, the nodes have room for."""
    each = {"CPU": threads} | ({"GPU": 1} if gpu else {})
    return sum(min(int(node.get(name, 0) / count) for name, count in each.items()) for node in nodes)


def num_cores() -> int:
    """CPU cores that this process may use: fewer than the machine's under an affinity (taskset, Slurm) or a container's limit."""
    found = len(os.sched_getaffinity(0))
    limit = Path("/sys/fs/cgroup/cpu.max")
    if limit.is_file():
        quota, period = limit.read_text().split()
        if quota != "max":
            found = min(found, max(1, int(quota) // int(period)))
    return found
