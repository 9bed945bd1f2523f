"""Jobs on a Ray that runs: by a group of Train's workers, by actors of a pool, or by tasks.

`launch` is cluster.RayCluster: how many workers there are, with how many threads each, and where Train keeps its books.
"""

import uuid
from collections.abc import Callable
from functools import partial

from reid_da.distributed import OnEveryRank

# What starts actors of Train's own, a process each: one for Ray Data's sets, of which there are none, and one that removes what a
# killed controller leaves by asking the dashboard for it, which a Ray of the command's own does not have.
NO_DATASETS, NO_DASHBOARD = "DatasetsCallback", "PlacementGroupCleanerCallback"
USER_ERRORS = (ValueError, FloatingPointError, OSError)


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
            failure_config=FailureConfig(max_failures=2 + len(jobs), controller_failure_limit=3),
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
    """Each job by some actor of a pool, as many as there are workers."""
    import ray

    options = {"num_cpus": launch.threads, "num_gpus": int(launch.gpu), "max_restarts": 2, "max_task_retries": 2}
    size = min(launch.num_workers, len(jobs))
    actors = ray.util.ActorPool([ray.remote(Hand).options(**options).remote() for _ in range(size)])
    try:
        for _ in actors.map_unordered(lambda actor, job: actor.do.remote(worker, job), jobs):
            pass
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, USER_ERRORS) else error from None


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
