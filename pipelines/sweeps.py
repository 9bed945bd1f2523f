"""Sweeps: the trials that the points of a space are, and what is told of them.

A trial is one point of the space: the method trained with these options, once per seed. Its stages are those of run.py with the
same options, so a trial that run.py has made already is made.
"""

import hashlib
import json
import shlex
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines import data_limits, graph, results, stages, stopping
from pipelines.cache import Stage
from pipelines.data_stage import origin
from pipelines.space import method_of


@dataclass(frozen=True)
class Trial:
    """One point, {option under its full name: value}; for every seed the settings and the graph.

    A graph ends with the method's stage and, where there is a generator, the one that measures its style retrieval.
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
        content = json.dumps([self.point, [stage.hash for plan in self.graphs for stage in _ends(plan)]])
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def trained(self) -> list[Stage]:
        """The method's stages, one per seed."""
        return [_ends(plan)[0] for plan in self.graphs]

    def trained_whole(self) -> bool:
        """Whether the trainings of all seeds have come to their end, here or by another command."""
        work_dir = Path(self.settings[0]["work_dir"]).absolute()
        return all(stage.finished(work_dir) for stage in self.trained())

    def own(self) -> list[Stage]:
        """What the trial makes itself: the method's stages and what is measured of them."""
        return [stage for plan in self.graphs for stage in _ends(plan)]

    def shared(self) -> list[Stage]:
        """What comes before, and other trials may use too."""
        mine = {stage.hash for stage in self.own()}
        return [stage for plan in self.graphs for stage in plan if stage.hash not in mine]


def _ends(plan: list[Stage]) -> list[Stage]:
    """What a graph of a trial is for: the method's stage, and what is measured of it."""
    return plan[-2:] if plan[-1].name == "style_retrieval" else plan[-1:]


def left_out(own: dict, base: dict, target: Stage) -> list[str]:
    """A line on what the sweep cannot measure. target: the data stage.

    Raises:
        ValueError: it is what the sweep is to go by.
    """
    if why := data_limits.not_judged(target):
        raise ValueError(
            f"{why['not_judged']}, and those are what a sweep measures its trials on, by {own['metric']} as well; sweep on a "
            "target that has them, and give run.py the options it finds"
        )
    why = data_limits.no_style_retrieval(base, target)
    if why and own["metric"] == "style_retrieval":
        raise ValueError(f"sweep.metric is style_retrieval: {why}; expected mAP, or another gan or target")
    return [f"style retrieval is left out: {why}"] * bool(why)


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
        plan = graph.plan(one, num_workers, data)
        method, measures = plan[-1], [stage for stage in plan if stage.name == "measures"]
        if "optimiser" not in one[method.name]:
            raise ValueError(
                f"{method.name} learns nothing, and a sweep is over trainings; expected options of hhl, arn or baseline"
            )
        untold = data_limits.no_style_retrieval(one, method.inputs["target"])
        last = method if untold else graph.style_retrieval(one, method, num_workers)
        stages = [one for stage in (*measures, last) for one in graph.with_inputs(stage)]
        graphs.append(list({stage.hash: stage for stage in stages}.values()))
    return Trial(point, settings, graphs)


def make(own: dict, one: Trial, launch, folder: Path) -> dict[str, float]:
    """Make what is missing of a trial, without a word; its numbers (see `summary`).

    Args:
        folder: of the sweep, where trainings that may stop early leave their records.
    """
    if numbers := summary(one, own["metric"], folder):
        return numbers
    early = {}
    if own["early_stopping"]:
        shared = {"folder": str(folder), "trial": one.key, "metric": own["metric"]}
        for stage, plan, seed in zip(one.trained(), one.graphs, own["seeds"], strict=True):
            generator = plan[-1].inputs.get("generator")
            place = str(generator.folder(Path(one.settings[0]["work_dir"]).absolute())) if generator else None
            early[stage.hash] = shared | {"seed": seed, "generator": place}
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
    if not one.trained_whole():
        ended = [record for record in stopping.records(folder, one.key) if "stopped" in record]
        scores = [list(record["scores"].values())[-1] for record in ended]
        return {metric: statistics.fmean(scores), "stopped": max(r["stopped"] for r in ended)} if ended else None
    if not all(stage.finished(work_dir) for stage in one.own()):
        return None
    found: dict[str, list[float]] = {}
    for stage in one.own():
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


def both(rows: list[dict]) -> list[tuple[float, float]]:
    """(mAP, style retrieval) of the trials that have both."""
    return [(row["mAP"], row["style_retrieval"]) for row in rows if "mAP" in row and "style_retrieval" in row]


def correlation(rows: list[dict]) -> float | None:
    """Spearman's rank correlation of mAP and style retrieval over the trials; None for fewer than three, or a constant one."""
    pairs = both(rows)
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
    """A value as Hydra reads it."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_argument(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_argument, value)) + "]"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def key(own: dict, trials: list[Trial]) -> str:
    """What a sweep is found by again: its search, and the trials known at its start."""
    asked = {name: own[name] for name in ("metric", "search", "space", "seeds", "early_stopping")}
    if own["search"] != "grid":
        asked |= {name: own[name] for name in ("num_trials", "seed")}
    return json.dumps([asked, [one.key for one in trials]], sort_keys=True)


def name(own: dict, base: dict) -> str:
    """What its run is called: the space and the pair of data sets."""
    return f"sweep of {' x '.join(own['space'])}: {base['source']['name']} -> {base['target']['name']}"


def headline(own: dict, base: dict) -> str:
    """Which data, recipe and space, and what is maximised."""
    space = " x ".join(option for option in own["space"])
    pair = f"{base['source']['name']} -> {base['target']['name']}"
    seeds = ", ".join(map(str, own["seeds"]))
    return f"{own['search']} over {space}: {pair}, {origin(base)} data, recipe {base['recipe']}, seed {seeds}; by {own['metric']}"


def on_real_data(one: Trial) -> bool:
    """Whether source and target are the published sets, by their counts."""
    return all(one.trained()[0].inputs[role].about.get("whole") for role in ("source", "target"))


def check_distinct(trials: list[Trial]) -> None:
    """Refuse points that are all one training; some of them may be, as all beta with n_t 0.

    Raises:
        ValueError: the options that change nothing.
    """
    trainings = {tuple(stage.hash for stage in one.trained()) for one in trials}
    if len(trials) > 1 and len(trainings) == 1:
        raise ValueError(
            f"all {len(trials)} points of sweep.space are the same training: {', '.join(trials[0].point)} changes nothing here; "
            "expected options that the method uses as it is set"
        )


def changes_data(own: dict) -> bool:
    """Whether trials differ in their data sets."""
    return any(option.partition(".")[0] in ("data", "source", "target", "images") for option in own["space"])


def forget(trials: list[Trial], base: dict, folder: Path, say: Callable) -> None:
    """Remove the trials' stages that `force` makes again, and the records of early stops of their trainings."""
    everything = {stage.hash: stage for one in trials for plan in one.graphs for stage in plan}
    doomed = stages.forget(list(everything.values()), base, say)
    for one in trials:
        if any(stage.hash in doomed for stage in one.trained()):
            for record in folder.glob(f"{one.key}-*.json"):
                record.unlink()
