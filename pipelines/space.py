"""The space of a sweep: options and their values, and the points to try."""

import itertools
import json
import math
import random

METRICS = ("mAP", "style_retrieval")
SEARCHES = ("grid", "random", "tpe")
PAPERS = {"hhl.beta": 0.5, "hhl.n_t": 16}  # where tpe begins
# Options, by their first name, that belong to no training of one method on one pair of data sets.
ASIDE = ("recipe", "methods", "work_dir", "force", "tracking", "cluster", "source", "target")


def check(own: dict) -> None:
    """Refuse what no sweep can be made of: conf/sweep.yaml's block as plain values."""
    if own["metric"] not in METRICS:
        raise ValueError(f"sweep.metric is {own['metric']}; expected one of {', '.join(METRICS)}")
    if own["search"] not in SEARCHES:
        raise ValueError(f"sweep.search is {own['search']}; expected one of {', '.join(SEARCHES)}")
    seeds = own["seeds"]
    if not isinstance(seeds, list) or not seeds or not all(_whole(seed, 0) for seed in seeds):
        raise ValueError(f"sweep.seeds is {seeds}; expected whole numbers such as sweep.seeds=[0,1,2]")
    if repeated := [seed for seed in seeds if seeds.count(seed) > 1]:
        raise ValueError(f"sweep.seeds is {seeds}; expected every seed once, found {repeated[0]} more often")
    if not _whole(own["num_trials"], 1) or not _whole(own["seed"], 0):
        raise ValueError(
            f"sweep.num_trials is {own['num_trials']} and sweep.seed {own['seed']}; expected whole numbers from 1 and from 0 on"
        )
    if own["max_concurrent"] != "auto" and not _whole(own["max_concurrent"], 1):
        raise ValueError(f"sweep.max_concurrent is {own['max_concurrent']}; expected auto, or a whole number from 1 on")
    if not isinstance(own["early_stopping"], bool):
        raise ValueError(f"sweep.early_stopping is {own['early_stopping']}; expected true or false")
    if not own["space"] or not isinstance(own["space"], dict):
        raise ValueError("sweep.space is empty; expected such as 'sweep.space.beta=[0.1,0.5]'")
    for option, values in own["space"].items():
        _check_values(option, values, own["search"])
    if own["search"] == "tpe" and all(isinstance(values, list) for values in own["space"].values()):
        _enough(own, math.prod(map(len, own["space"].values())))


def _check_values(option: str, values, search: str) -> None:
    name = f"sweep.space.{option}"
    if option == "seed":
        raise ValueError(f"{name}: seeds are not searched; give sweep.seeds=[0,1,2]")
    if option.endswith(".seed"):
        raise ValueError(f"{name}: seeds are not searched; give {option}=1 on the command line, for all trials alike")
    if option.partition(".")[0] in ASIDE:
        raise ValueError(
            f"{name}: not searched; give {option.partition('.')[0]} on the command line, for all trials alike"
        )
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


def typed(space: dict, base: dict) -> dict:
    """The space with whole numbers as floats where the option is one: beta=1 is beta=1.0, and {from: 0, to: 2} has 0.5 in it."""
    found = {}
    for option, values in space.items():
        usual = base
        for key in option.split("."):
            usual = usual.get(key) if isinstance(usual, dict) else None
        if isinstance(usual, float):
            if isinstance(values, list):
                values = [_float(value) for value in values]
            elif isinstance(values, dict):
                values = {key: _float(value) for key, value in values.items()}
        found[option] = values
    return found


def _float(value):
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


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
    return _enough(own, len(found))


def _enough(own: dict, count: int) -> None:
    if own["num_trials"] > count:
        raise ValueError(
            f"sweep.num_trials is {own['num_trials']}; the space has {count} points, expected no more trials"
        )


def _drawn(values, draws: random.Random):
    if isinstance(values, list):
        return draws.choice(values)
    low, high = values["from"], values["to"]
    whole = _integer(values)
    if not values.get("log"):
        return draws.randint(low, high) if whole else draws.uniform(low, high)
    if not whole:
        return low * (high / low) ** draws.random()
    # a whole number stands for what is rounded to it: the ends for as much as others
    least, most = low - 0.5, high + 0.5
    return min(max(round(least * (most / least) ** draws.random()), low), high)


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
