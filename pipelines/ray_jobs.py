"""Jobs on a Ray that runs: by a group of Train's workers, by actors of a pool, or by tasks.

`launch` is cluster.RayCluster: how many workers there are, with how many threads each, and where Train keeps its books.
"""

import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from reid_da.distributed import OnEveryRank

# What starts actors of Train's own, a process each: one for Ray Data's sets, of which there are none, and one that removes what a
# killed controller leaves by asking the dashboard for it, which a Ray of the command's own does not have.
NO_DATASETS, NO_DASHBOARD = "DatasetsCallback", "PlacementGroupCleanerCallback"
USER_ERRORS = (ValueError, FloatingPointError, OSError)
TRIES = 3  # of a job whose process is killed each time: it may be what kills them


def by_group(launch, worker: Callable, jobs: list[dict]) -> None:
    """The jobs in turn on all ranks of one group of Train's workers."""
    from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig, WorkerGroupError
    from ray.train.torch import TorchConfig, TorchTrainer

    without = {NO_DATASETS, NO_DASHBOARD} if launch.own else {NO_DATASETS}

    class Trainer(TorchTrainer):
        def _register_sigint_handler(self, controller) -> None:
            """Not Ray's, which exits 1 without a word and stays in place: Ctrl-C is the command's."""

        def _create_default_callbacks(self) -> list:
            return [one for one in super()._create_default_callbacks() if type(one).__name__ not in without]

    name = f"group-{uuid.uuid4().hex[:8]}"  # a known name would resume Train's own state; ours is in the folders
    trainer = Trainer(
        # bound, not in a train_loop_config, for which the controller would import all that the worker does
        partial(in_group, worker, jobs),
        torch_config=TorchConfig(backend="nccl" if launch.gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=launch.num_workers,
            use_gpu=launch.gpu,
            resources_per_worker={"CPU": launch.threads} | ({"GPU": 1} if launch.gpu else {}),
        ),
        run_config=RunConfig(
            name=name,
            storage_path=str(launch.storage),
            # a worker lost in every job, and two more: one of which every worker dies still ends the group
            # on a cluster an hour, a minute each, for a lost node's successor to come
            failure_config=FailureConfig(max_failures=2 + len(jobs), controller_failure_limit=3 if launch.own else 60),
            logging_config=LoggingConfig("ERROR"),
        ),
    )
    try:
        error = trainer.fit().return_value
    except WorkerGroupError as failure:
        causes = [e for e in failure.worker_failures.values() if isinstance(e, USER_ERRORS)]
        raise (causes[0] if causes else failure) from None
    finally:
        launch.tidy(name)
    if error is not None:
        raise error


def by_actors(launch, worker: Callable, jobs: list[dict]) -> None:
    """Each job by some actor of a pool, as many as there are workers. The first error of a job's own ends all.

    A job whose actor is lost, with its node perhaps, is another's; actors that have nothing to do make room at once, since a new
    one may need theirs.
    """
    import ray

    hand = ray.remote(Hand).options(num_cpus=launch.threads, num_gpus=int(launch.gpu))
    waiting, idle, busy, tries = deque(jobs), [], {}, Counter()
    while waiting or busy:
        while waiting and len(busy) < launch.num_workers:
            actor, job = idle.pop() if idle else hand.remote(), waiting.popleft()
            busy[actor.do.remote(worker, job)] = actor, job
            del actor
        if not waiting:
            idle.clear()
        (done,), _ = ray.wait(list(busy), num_returns=1)
        actor, job = busy.pop(done)
        try:
            ray.get(done)
            idle.append(actor)
        except ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, USER_ERRORS) else error from None
        except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError):
            tries[id(job)] += 1
            if tries[id(job)] >= TRIES:
                raise
            waiting.append(job)
        del actor


def by_tasks(launch, worker: Callable, jobs: list[dict]) -> None:
    """Each job by a task, wherever cores are free; a few more than there is room for wait at Ray.

    The first error ends all: what raised is not tried again.
    """
    import ray

    task = ray.remote(num_cpus=launch.threads, max_retries=2)(worker)
    most, waiting = 2 * max(1, int(ray.cluster_resources()["CPU"]) // launch.threads), []
    try:
        for job in jobs:
            if len(waiting) >= most:
                done, waiting = ray.wait(waiting)
                ray.get(done)
            waiting.append(task.remote(job))
        while waiting:
            done, waiting = ray.wait(waiting)
            ray.get(done)
    except ray.exceptions.RayTaskError as error:
        for other in waiting:
            ray.cancel(other, force=True)
        if waiting:  # what they were to write will be taken away
            ray.wait(waiting, num_returns=len(waiting), timeout=30)
        raise error.cause if isinstance(error.cause, USER_ERRORS) else error from None


class Hand:
    """An actor of the pool: does one job after another."""

    def do(self, worker: Callable, job: dict) -> None:
        worker(job)


def in_group(worker: Callable, jobs: list[dict]) -> Exception | None:
    """Train's loop on every rank: the jobs in turn. A user's error comes back as a value: trying again would not mend it."""
    import ray.train

    alone = ray.train.get_context().get_world_size() == 1
    for job in jobs:
        try:
            worker(job)
        except (ValueError, FloatingPointError) as error:
            return error  # settings and data are the same on every rank, and a loss is looked at by all: all of them end here
        except USER_ERRORS as error:
            if alone or isinstance(error, OnEveryRank):  # with other ranks waiting, only an exception ends the group
                return error
            raise
    return None


def free_the_dead() -> None:
    """Remove this job's placement groups whose maker, an actor, has died: Ray keeps them, and their CPUs, till the job's end.

    It is what the NO_DASHBOARD one does by way of a dashboard.
    """
    import ray
    from ray._private.state import state
    from ray._raylet import PlacementGroupID
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    job = bytes.fromhex(ray.get_runtime_context().get_job_id())
    for raw in state._connect_and_get_accessor().get_placement_group_table():
        group = PlacementGroupTableData.FromString(raw)
        ours = group.creator_job_id == job and not group.is_detached
        made_by_actor = group.creator_actor_id.strip(b"\xff")  # no actor, such as Tune in the command: all ones
        if ours and made_by_actor and group.creator_actor_dead and group.state != PlacementGroupTableData.REMOVED:
            remove_placement_group(PlacementGroup(PlacementGroupID(group.placement_group_id)))


def nodes() -> list[dict]:
    """The resources of every node of a running Ray."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def check_shared(work_dir: Path) -> None:
    """Refuse a work_dir that some node does not see: what a worker there made would be nobody's.

    Raises:
        ValueError: names the nodes that do not see it, or do not answer in a minute; or it lies in a package that `ray job submit`
            has sent, which Ray may remove.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if any(part.startswith("_ray_pkg_") for part in work_dir.parts):
        raise ValueError(
            f"work_dir is {work_dir}, in Ray's copy of the code, which may be removed; expected work_dir=/shared/..."
        )
    look = ray.remote(num_cpus=0, max_retries=0)(seen)
    there = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    with _marked(work_dir) as marker:
        asked = {
            look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(marker): address
            for node, address in there.items()
        }
        answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=60)
        blind = []
        for one in answered:
            with suppress(ray.exceptions.RayError):  # the node has been lost meanwhile
                blind += [asked[one]] * (not ray.get(one))
    for which, what in ((blind, "do not see"), ([asked[one] for one in silent], "do not answer whether they see")):
        if which:
            raise ValueError(
                f"work_dir is {work_dir}, which {', '.join(which)} {what}; expected storage that all nodes share"
            )


@contextmanager
def _marked(folder: Path) -> Iterator[str]:
    """A file in the folder, for a moment; nothing of it stays, nor the folder if it was not there."""
    new = [one for one in (folder, *folder.parents) if not one.exists()]
    marker = folder / f"seen-{uuid.uuid4().hex}"
    folder.mkdir(parents=True, exist_ok=True)
    marker.touch()
    try:
        yield str(marker)
    finally:
        marker.unlink()
        with suppress(OSError):  # not empty: another command has begun there
            for one in new:
                one.rmdir()


def seen(path: str) -> bool:
    """Whether the file is there, on a shared disk perhaps a moment late."""
    for _ in range(20):
        if Path(path).exists():
            return True
        time.sleep(0.5)
    return False
