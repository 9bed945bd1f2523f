"""Sweeps: a space of options, its points, the trials that they are, and what is told of them. Knows no ray, no mlflow, no hydra.

A trial is one point of the space: the method trained with these options, once per seed. Its stages are those of run.py with the
same options, so a trial that run.py has made already is made.
"""

import hashlib
import itertools
import json
import random
import shlex
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines import cache, graph, results, stages, stopping, training
from pipelines.cache import Stage
from pipelines.data_stage import origin

METRICS = ("mAP", "style_retrieval")
SEARCHES = ("grid", "random", "tpe")
PAPERS = {"hhl.beta": 0.5, "hhl.n_t": 16}  # where tpe begins
SEEDS = ("seed", "data.seed", "gan.seed")


@dataclass(frozen=True)
class Trial:
    """One point, {option under its full name: value}; for every seed the settings and the graph.

    A graph ends with the method's stage and the one that measures its style retrieval.
    """

    point: dict[str, object]
    settings: list[dict]
    graphs: list[list[Stage]]

    @property
    def method(self) -> str:
        return self.settings[0]["methods"][0]

    @property
    def name(self) -> str:
        """ "hhl.beta=0.5 hhl.n_t=8" """
        return " ".join(f"{option}={value}" for option, value in self.point.items())

    @property
    def key(self) -> str:
        """16 hex digits of what the trial makes."""
        content = json.dumps([self.point, [stage.hash for plan in self.graphs for stage in plan[-2:]]])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def trained(self) -> list[Stage]:
        """The method's stages, one per seed."""
        return [plan[-2] for plan in self.graphs]

    def own(self) -> list[Stage]:
        """What the trial makes itself: the method's stages and what is measured of them."""
        return [
            s for plan in self.graphs for s in plan if s.name in (self.method, "style_retrieval") and s in plan[-2:]
        ]

    def shared(self) -> list[Stage]:
        """What comes before, and other trials may use too."""
        mine = {stage.hash for stage in self.own()}
        return [stage for plan in self.graphs for stage in plan if stage.hash not in mine]


def check(own: dict) -> None:
    """Refuse what no sweep can be made of: conf/sweep.yaml's block as plain values."""
    if own["metric"] not in METRICS:
        raise ValueError(f"sweep.metric is {own['metric']}; expected one of {', '.join(METRICS)}")
    if own["search"] not in SEARCHES:
        raise ValueError(f"sweep.search is {own['search']}; expected one of {', '.join(SEARCHES)}")
    seeds = own["seeds"]
    if not isinstance(seeds, list) or not seeds or not all(_whole(seed, 0) for seed in seeds):
        raise ValueError(f"sweep.seeds is {seeds}; expected whole numbers such as sweep.seeds=[0,1,2]")
    if not _whole(own["num_trials"], 1) or not _whole(own["seed"], 0):
        raise ValueError(
            f"sweep.num_trials is {own['num_trials']} and sweep.seed {own['seed']}; expected whole numbers from 1 and from 0 on"
        )
    if own["max_concurrent"] != "auto" and not _whole(own["max_concurrent"], 1):
        raise ValueError(f"sweep.max_concurrent is {own['max_concurrent']}; expected auto, or a whole number from 1 on")
    if not isinstance(own["early_stopping"], bool):
        raise ValueError(f"sweep.early_stopping is {own['early_stopping']}; expected true or false")
    if not own["space"]:
        raise ValueError("sweep.space is empty; expected such as 'sweep.space.beta=[0.1,0.5]'")
    for option, values in own["space"].items():
        _check_values(option, values, own["search"])


def _check_values(option: str, values, search: str) -> None:
    name = f"sweep.space.{option}"
    if option in SEEDS[:1]:
        raise ValueError(f"{name}: seeds are not searched; give sweep.seeds=[0,1,2]")
    if isinstance(values, dict):
        low, high, log = values.get("from"), values.get("to"), values.get("log", False)
        numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (low, high))
        if set(values) - {"from", "to", "log"} or not numbers or not low < high or (log and low <= 0):
            raise ValueError(
                f"{name} is {values}; expected a range such as {{from: 0.1, to: 2.0}}, with log: true above 0"
            )
        if search == "grid":
            raise ValueError(
                f"{name} is a range, and sweep.search=grid takes values; give a list, or sweep.search=random or tpe"
            )
    elif not isinstance(values, list) or not values:
        raise ValueError(
            f"{name} is {values}; expected a list of values such as [0.1,0.5], or a range {{from: 0.0, to: 2.0}}"
        )
    elif len({json.dumps(value) for value in values}) < len(values):
        raise ValueError(f"{name} is {values}; expected every value once")


def _whole(value, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def points(own: dict) -> list[dict] | None:
    """All points of a grid, or the draws of a random search; None for tpe, which finds its points on the way."""
    space = own["space"]
    if own["search"] == "grid":
        return [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]
    return _draws(own) if own["search"] == "random" else None


def _draws(own: dict) -> list[dict]:
    space, rng, found = own["space"], random.Random(own["seed"]), {}
    for _ in range(1000 * own["num_trials"]):
        point = {option: _drawn(values, rng) for option, values in space.items()}
        found.setdefault(json.dumps(point), point)
        if len(found) == own["num_trials"]:
            return list(found.values())
    raise ValueError(
        f"sweep.num_trials is {own['num_trials']}; the space has {len(found)} points, expected no more trials"
    )


def _drawn(values, draws: random.Random):
    if isinstance(values, list):
        return draws.choice(values)
    low, high = values["from"], values["to"]
    if values.get("log"):
        value = low * (high / low) ** draws.random()
        return round(value) if _integer(values) else value
    return draws.randint(low, high) if _integer(values) else draws.uniform(low, high)


def _integer(values: dict) -> bool:
    return all(isinstance(values[key], int) for key in ("from", "to"))


def first(own: dict) -> dict:
    """The papers' values of the options that are searched, where the space has them: where tpe begins."""
    found = {}
    for option, values in own["space"].items():
        value = PAPERS.get(option)
        inside = value in values if isinstance(values, list) else value and values["from"] <= value <= values["to"]
        if value is not None and inside:
            found[option] = value
    return found


def corners(own: dict) -> list[dict]:
    """Points from which all shared stages of a search with unknown points can be told: the first and last of each option."""
    ends = {
        option: [values[0], values[-1]] if isinstance(values, list) else [values["from"], values["to"]]
        for option, values in own["space"].items()
    }
    return [{option: pair[end] for option, pair in ends.items()} for end in (0, 1)]


def method_of(own: dict) -> str:
    """Which method is trained: the one whose options are searched; hhl where they are none's own (gan.*, backbone.*).

    Raises:
        ValueError: options of two methods.
    """
    found = sorted({option.partition(".")[0] for option in own["space"]} & set(own["known_methods"]))
    if len(found) > 1:
        raise ValueError(f"sweep.space has options of {' and '.join(found)}; a sweep trains one method")
    return found[0] if found else "hhl"


def trial(own: dict, point: dict, base: dict, changed: Callable, num_workers: int, data: dict | None = None) -> Trial:
    """The point as settings and graphs.

    Args:
        base: settings of the command line. changed: changed(settings, {option: value}) -> settings, as options.changed.
        data: graph.data_stages of base, unless the space has options of the data.
    Raises:
        ValueError: an option or value that does not exist, or what graph.plan says of it.
    """
    settings = [changed(base, {"methods": [method_of(own)], "seed": seed, **point}) for seed in own["seeds"]]
    graphs = []
    for one in settings:
        method = graph.plan(one, num_workers, data)[-1]
        graphs.append(list({s.hash: s for s in graph.with_inputs(graph.style_retrieval(one, method))}.values()))
    return Trial(point, settings, graphs)


def make(own: dict, one: Trial, launch, folder: Path) -> dict[str, float]:
    """Make what is missing of a trial, without a word; its numbers (see `summary`).

    Args:
        folder: of the sweep, where trainings that may stop early leave their records.
    """
    early = {}
    if own["early_stopping"]:
        shared = {"folder": str(folder), "trial": one.key, "metric": own["metric"]}
        for stage, plan, seed in zip(one.trained(), one.graphs, own["seeds"], strict=True):
            generator = plan[-1].inputs["generator"].folder(Path(one.settings[0]["work_dir"]).absolute())
            early[stage.hash] = shared | {"seed": seed, "generator": str(generator)}
    everything = {stage.hash: stage for plan in one.graphs for stage in plan}
    stages.make(list(everything.values()), one.settings[0] | {"force": []}, launch, stages.Silent(), early)
    numbers = summary(one, own["metric"], folder)
    assert numbers is not None, f"{one.name}: made, and without a result"
    return numbers


def summary(one: Trial, metric: str, folder: Path) -> dict[str, float] | None:
    """A trial's means over the seeds (mAP, rank1, ..., style_retrieval), their deviations, and seconds; None while it has none.

    One that has stopped itself has "stopped", the step, and the sweep's metric there, which stands for what it would have come to.
    """
    work_dir = Path(one.settings[0]["work_dir"]).absolute()
    ended = [record for record in stopping.records(folder, one.key) if "stopped" in record]
    if ended:
        scores = [list(record["scores"].values())[-1] for record in ended]
        return {metric: statistics.fmean(scores), "stopped": max(record["stopped"] for record in ended)}
    found: dict[str, list[float]] = {}
    for stage in {stage.hash: stage for plan in one.graphs for stage in plan[-2:]}.values():
        if not stage.finished(work_dir):
            return None
        result = json.loads((stage.folder(work_dir) / "result.json").read_text())
        values = result | result.get("target", {})
        for name in (*results.METRICS, "style_retrieval", "seconds"):
            if values.get(name) is not None:
                found.setdefault(name, []).append(values[name])
    numbers = {name: statistics.fmean(values) for name, values in found.items()} | {"seconds": sum(found["seconds"])}
    many = {name: values for name, values in found.items() if len(values) > 1 and name != "seconds"}
    return numbers | {f"{name}_deviation": statistics.stdev(values) for name, values in many.items()}


def best(rows: list[dict], metric: str) -> dict | None:
    """The trial with the largest mean of the metric, of those that were trained to their end."""
    return max(
        (row for row in rows if metric in row and "stopped" not in row), key=lambda row: row[metric], default=None
    )


def correlation(rows: list[dict]) -> float | None:
    """Spearman's rank correlation of mAP and style retrieval over the trials; None for fewer than three, or a constant one."""
    pairs = [(row["mAP"], row["style_retrieval"]) for row in rows if "mAP" in row and "style_retrieval" in row]
    if len(pairs) < 3 or any(len(set(values)) < 2 for values in zip(*pairs, strict=True)):
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(*zip(*pairs, strict=True)).statistic)


def command_line(row: dict, given: list[str], own: dict) -> str:
    """What run.py is given to make the trial again."""
    options = [f"{option}={_argument(value)}" for option, value in row["point"].items()]
    seed = [f"seed={own['seeds'][0]}"] if own["seeds"][0] != 0 else []
    line = ["python", "pipelines/run.py", *given, f"methods=[{method_of(own)}]", *options, *seed]
    return " ".join(shlex.quote(word) for word in line)


def _argument(value) -> str:
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def key(own: dict, trials: list[Trial]) -> str:
    """What a sweep is found by again: its search, and the trials known at its start."""
    asked = {name: own[name] for name in ("metric", "search", "space", "seeds", "early_stopping")}
    if own["search"] != "grid":
        asked |= {name: own[name] for name in ("num_trials", "seed")}
    return json.dumps([asked, [one.key for one in trials]], sort_keys=True)


def headline(own: dict, base: dict) -> str:
    """Which data, recipe and space, and what is maximised."""
    space = " x ".join(option for option in own["space"])
    pair = f"{base['source']['name']} -> {base['target']['name']}"
    seeds = ", ".join(map(str, own["seeds"]))
    return f"{own['search']} over {space}: {pair}, {origin(base)} data, recipe {base['recipe']}, seed {seeds}; by {own['metric']}"


def on_real_data(base: dict) -> bool:
    return origin(base) == "disk"


def changes_data(own: dict) -> bool:
    """Whether trials differ in their data sets."""
    return any(option.partition(".")[0] in ("data", "source", "target", "images") for option in own["space"])


def forget(trials: list[Trial], base: dict, say: Callable) -> None:
    """Remove what is to be made again by `force`, of the trials' own stages."""
    work_dir = Path(base["work_dir"]).absolute()
    for stage in {stage.hash: stage for one in trials for stage in one.own() if stage.name in base["force"]}.values():
        with cache.locked([stage], work_dir, say):
            cache.forget(stage, work_dir)


def training_seconds(one: Trial, work_dir: Path) -> float | None:
    """How long a trial's trainings may take: the images a step and the time that the stage it starts from took for each of its own.

    None where it starts from nothing that has been timed, or lengths are told in epochs.
    """
    stage = one.trained()[0]
    before, block = stage.inputs.get("start"), stage.settings["method"]
    if before is None or not before.settings["method"]["steps"] or not block["steps"]:
        return None
    taken = training.training_seconds(before.folder(work_dir)) / before.settings["method"]["steps"]
    data = json.loads((stage.inputs["target"].folder(work_dir) / "result.json").read_text())["splits"]["train"]
    per_image = taken / images_a_step(before.settings["method"], data["cameras"])
    return per_image * images_a_step(block, data["cameras"]) * block["steps"] * len(one.settings)


def images_a_step(block: dict, cameras: int) -> int:
    """Images that pass through the network in a step of the method with these settings."""
    pk = block.get("persons", 0) * block.get("images_per_person", 0)
    return block.get("batch", 0) + pk + block.get("n_t", 0) * (1 + cameras) + block.get("target_batch", 0)
