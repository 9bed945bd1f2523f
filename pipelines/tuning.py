"""The thin Ray Tune module: the trials of a sweep, as many at a time as the cluster has room for.

A trial is a light Tune function that holds no CPU; what it launches, a Ray Train run, takes its workers' share by itself. Nothing
here ends a trial: one that should end early ends itself (stopping.py), so Tune never kills what Train has begun.
"""

import logging
import os
import threading
from contextlib import suppress
from pathlib import Path

import ray
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from pipelines import cluster, options, ray_jobs, space, sweeps
from pipelines.cluster import RayCluster

HOLDS = {"memory": 2**20}  # Tune refuses a trial that holds nothing; CPUs are the workers'


def room(own: dict, launch: RayCluster) -> tuple[int, str]:
    """How many trials fit at a time, and what the cluster has, in words.

    Raises:
        ValueError: sweep.max_concurrent asks for more, with the numbers.
    """
    launch.start()
    have, nodes = ray.cluster_resources(), ray_jobs.nodes()
    most = cluster.slots(nodes, launch.threads, launch.gpu) // launch.num_workers
    words = "each {} of {}".format(
        "1 worker" if launch.num_workers == 1 else f"{launch.num_workers} workers",
        ("1 GPU and " if launch.gpu else "") + f"{launch.threads} CPU{'s' if launch.threads > 1 else ''}",
    )
    words += "; the cluster has " + " and ".join(
        f"{int(have[name])} {name}s" for name in ("CPU", "GPU") if have.get(name)
    )
    wanted = own["max_concurrent"]
    if most < 1 or (wanted != "auto" and wanted > most):
        asked = 1 if wanted == "auto" else wanted
        raise ValueError(
            f"{asked} trial{'s' * (asked > 1)} at a time, {words} on {len(nodes)} node{'s' * (len(nodes) > 1)}, room for {most}: "
            "fewer cluster.num_workers, cluster.cpus_per_worker or sweep.max_concurrent fit"
        )
    return (most if wanted == "auto" else wanted), words


def search(
    own: dict, base: dict, launch: RayCluster, folder: Path, points: list[dict] | None, at_once: int, listen
) -> None:
    """Run every trial; what comes of each is told to listen.begin(point), .end(point, numbers) and .failed(point, error).

    Args:
        own: conf/sweep.yaml's block. base: settings of the command line. folder: of the sweep (sweeps.make). points: of the grid
            or the draws; None for tpe, whose points Optuna finds. at_once: trials at a time.
    """
    os.environ |= {
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a trial's error is told by listen
    name = f"sweep-{os.getpid()}"
    plain = {"own": own, "base": base, "folder": str(folder), "cluster": launch.plain()}
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(one, plain=plain), HOLDS),
        tune_config=tune.TuneConfig(
            metric=own["metric"],
            mode="max",
            max_concurrent_trials=at_once,
            num_samples=1 if points is not None else own["num_trials"],
            search_alg=None if points is not None else _optuna(own),
            reuse_actors=True,  # a trial's process imports torch once
        ),
        run_config=tune.RunConfig(
            name=name, storage_path=str(launch.storage), verbose=0, callbacks=[_Listener(listen)]
        ),
        param_space=None if points is None else {"point": tune.grid_search(points)},
    )
    done = threading.Event()
    clearing = threading.Thread(target=_clear, args=(done,), daemon=True)
    clearing.start()
    try:
        tuner.fit()
    finally:
        done.set()
        clearing.join()
        launch.tidy(name)


def _clear(done: threading.Event) -> None:
    """A trial that is killed leaves what its training held; the next ones need it."""
    while not done.wait(2):
        with suppress(ray.exceptions.RayError):  # tried again
            ray_jobs.free_the_dead()


def one(config: dict, plain: dict) -> None:
    """A trial, in a process of Ray's: make what is missing, report its numbers."""
    launch = RayCluster.joined(plain["cluster"])
    point, own = config.get("point", config), plain["own"]
    trial = sweeps.trial(own, point, plain["base"], options.changed, launch.num_workers)
    tune.report(sweeps.make(own, trial, launch, Path(plain["folder"])))


def _optuna(own: dict) -> OptunaSearch:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    first = space.first(own)
    domains = {option: _domain(values) for option, values in own["space"].items()}
    return OptunaSearch(
        OptunaSearch.convert_search_space(domains),
        metric=own["metric"],
        mode="max",
        seed=own["seed"],
        points_to_evaluate=[first] if len(first) == len(own["space"]) else None,
    )


def _domain(values):
    if isinstance(values, list):
        return tune.choice(values)
    low, high, log = values["from"], values["to"], values.get("log", False)
    if isinstance(low, int) and isinstance(high, int):
        return tune.lograndint(low, high + 1) if log else tune.randint(low, high + 1)
    return tune.loguniform(low, high) if log else tune.uniform(low, high)


class _Listener(tune.Callback):
    def __init__(self, listen):
        self.listen = listen

    def __getstate__(self) -> dict:
        return {}  # Tune saves its callbacks to go on from; a sweep goes on from the stages' folders

    def on_trial_start(self, iteration, trials, trial, **info) -> None:
        self.listen.begin(_point(trial))

    def on_trial_complete(self, iteration, trials, trial, **info) -> None:
        self.listen.end(_point(trial), trial.last_result)

    def on_trial_error(self, iteration, trials, trial, **info) -> None:
        error = trial.get_pickled_error() or trial.get_error() or RuntimeError("its process was killed")
        self.listen.failed(_point(trial), getattr(error, "cause", None) or error)


def _point(trial) -> dict:
    return trial.config.get("point", trial.config)
