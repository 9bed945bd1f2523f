"""The stage graph: what depends on what, and its run, from plain settings. Knows no ray, no mlflow, no hydra.

    data source -+-> pretrain -+-> baseline
                 |             +-> arn  <-- data target
    data target -+-> generator --> styles --> hhl

`run(settings, launch, track)` makes what is missing under settings["work_dir"] and returns every method's result. It needs torch,
torchvision, numpy and Pillow alone; `launch` says where work is done (pipelines/cluster.py; its Inline does it in this process).
"""

import json
from pathlib import Path

from pipelines import build, cache, work
from pipelines.cache import Stage
from pipelines.data_stage import data_stage, origin
from reid_da import checkpoint
from reid_da.sampling import share

# Raised when a stage's code changes what it makes from the same settings.
VERSIONS = {"data": 1, "generator": 1, "styles": 1, "method": 1}


def plan(settings: dict, num_workers: int = 1) -> list[Stage]:
    """All stages of a run, inputs first. Reads the data sets' folders, computes nothing else.

    Args:
        num_workers: training workers, which must be able to share every batch equally.
    Raises:
        ValueError: what is wrong with the settings or the data, before anything is written.
    """
    source, target = (data_stage(settings, role, VERSIONS["data"]) for role in ("source", "target"))
    if source.hash == target.hash:
        raise ValueError(
            f"source and target are the same data ({settings['source']['name']}); choose two data sets, or give one "
            "of them a root of its own with target.root=/path"
        )
    stages = {"source": source, "target": target}
    methods = settings["methods"]
    check_sizes(settings, num_workers)
    about = _about(settings)
    if any("styles" in work.needs(settings[method]) for method in methods):
        stages |= _style_stages(settings, target, about)
    for name in trained(settings):
        stages[name] = _method_stage(name, settings, stages, about)
    return list(stages.values())


def trained(settings: dict) -> list[str]:
    """The methods to train and what they start from, starts first."""
    names: list[str] = []
    for method in settings["methods"]:
        chain = [method]
        while start := settings[chain[-1]]["start"]:
            if start not in ("pretrain", "baseline") or start in chain or not settings[start]:
                raise ValueError(
                    f"{chain[-1]}.start is {start}; expected null, baseline, or pretrain where the recipe has it"
                )
            chain.append(start)
        names += [name for name in reversed(chain) if name not in names]
    return names


def check_sizes(settings: dict, num_workers: int) -> None:
    """Refuse options out of range, and global sizes that the workers cannot share equally."""
    gan, sizes, names = settings["gan"], {}, trained(settings)
    for block in (gan["generator"], gan["discriminator"], gan["training"], settings["backbone"]):
        build.check(block)
    if any("styles" in work.needs(settings[name]) for name in names):
        _check_length("gan", gan)
        sizes["gan.batch"] = gan["batch"]
    for method in names:
        block = settings[method]
        build.check(block, besides=work.TRAINING)
        for part in ("optimiser", "schedule"):
            build.check(block[part])
        work.needs(block)  # refuses what is out of its range
        _check_length(method, block)
        sizes |= {f"{method}.{name}": block[name] for name in ("batch", "n_t", "target_batch") if name in block}
        if "persons" in block:
            sizes[f"{method}.persons x {method}.images_per_person"] = block["persons"] * block["images_per_person"]
    for name, size in sizes.items():
        if size < 1 and not name.endswith(".n_t"):
            raise ValueError(f"{name} is {size}; expected at least 1")
        share(size, num_workers, name)


def _check_length(name: str, block: dict) -> None:
    given = {key: block[key] for key in ("steps", "epochs") if block[key] is not None}
    if len(given) != 1:
        found = " and ".join(f"{name}.{key}={value}" for key, value in given.items()) or "neither"
        raise ValueError(f"{name} needs one length, {name}.steps or {name}.epochs; found {found} (null takes one away)")
    for key, value in given.items():
        if value < 1:
            raise ValueError(f"{name}.{key} is {value}; expected at least 1")


def _style_stages(settings: dict, target: Stage, about: dict) -> dict[str, Stage]:
    gan = settings["gan"]
    generator = Stage("generator", "generator", gan, {"target": target}, VERSIONS["generator"], about)
    styles = Stage("styles", "styles", {}, {"target": target, "generator": generator}, VERSIONS["styles"], about)
    return {"generator": generator, "styles": styles}


def _method_stage(name: str, settings: dict, stages: dict, about: dict) -> Stage:
    block, backbone = settings[name], dict(settings["backbone"])
    weights = backbone.get("weights")
    if weights not in (None, "imagenet"):
        if not Path(weights).is_file():
            raise ValueError(
                f"backbone.weights is {weights}, which is no file; expected imagenet, null or a file of weights"
            )
        backbone["weights_file"] = [Path(weights).stat().st_size, Path(weights).stat().st_mtime_ns]
    inputs = {"source": stages["source"], "target": stages["target"]}
    if "styles" in work.needs(block):
        inputs["styles"] = stages["styles"]
    if block["start"]:
        inputs["start"] = stages[block["start"]]
    own = {k: v for k, v in block.items() if k != "start"}
    values = {"method": own, "backbone": backbone, "seed": settings["seed"]}
    variant = settings.get("variants", {}).get(name, "default")
    return Stage(name, name, values, inputs, VERSIONS["method"], about | {"method": name, "variant": variant})


def _about(settings: dict) -> dict:
    data = origin(settings)
    return {
        "source": settings["source"]["name"],
        "target": settings["target"]["name"],
        "data": data,
        "recipe": settings["recipe"],
        "seed": settings["seed"],
        "data_seed": settings["data"]["seed"] if "synthetic" in data else "",
        "gan_seed": settings["gan"]["seed"] if "synthetic" in data else "",
    }


class Quiet:
    """Says what happens in a line each: what stands in for tracking where there is none."""

    def say(self, line: str) -> None:
        print(line, flush=True)

    def begin(self, stages: list[Stage]) -> None:
        self.say("making " + ", ".join(stage.label for stage in stages))

    def end(self, stage: Stage, reused: bool) -> None:
        self.say(f"{stage.label}: {'reused' if reused else 'made'}")


def run(settings: dict, launch, track=None) -> dict[str, dict]:
    """Make every stage of the plan that is missing; stage name -> result.json of each trained method.

    Args:
        settings: plain values as conf/ composes them. launch: launch(worker, jobs, pool=False) calls worker(job) for each
            job, in turn in one group of launch.num_workers, or spread over a pool. track: begin, end and say (see Quiet).
    """
    track = track or Quiet()
    work_dir = Path(settings["work_dir"]).absolute()
    stages = plan(settings, launch.num_workers)
    for stage in stages:
        if stage.name in settings["force"]:
            with cache.locked([stage], work_dir, track.say):
                cache.forget(stage, work_dir)
    ended: set[str] = set()

    def end(stage: Stage, reused: bool) -> None:
        track.end(stage, reused)
        ended.add(stage.hash)
        for line in _left_out(stage, work_dir):
            track.say(line)

    for stage in stages:
        if stage.finished(work_dir):
            end(stage, reused=True)
    while missing := [s for s in stages if s.hash not in ended]:
        wave = _wave(missing)
        with cache.locked(wave, work_dir, track.say):
            made = [s for s in wave if not s.finished(work_dir)]  # another command may have been faster
            for stage in made:
                cache.start(stage, work_dir)
            track.begin(made)
            _make(made, work_dir, launch)
            for stage in wave:
                end(stage, reused=stage not in made)
    return {
        s.name: json.loads((s.folder(work_dir) / "result.json").read_text())
        for s in stages
        if s.name in settings["methods"]
    }


def _left_out(stage: Stage, work_dir: Path) -> list[str]:
    """A line for every split of a data stage from which unreadable images were left out."""
    if stage.name != "data":
        return []
    splits = json.loads((stage.folder(work_dir) / "result.json").read_text())["splits"]
    skipped = {split: counts["skipped"] for split, counts in splits.items() if counts["skipped"]}
    return [
        f"{stage.label}: {len(paths)} unreadable images left out of {s}: {paths[0]} ..." for s, paths in skipped.items()
    ]


def _wave(missing: list[Stage]) -> list[Stage]:
    """The next stages to make together: all of one kind whose missing inputs come earlier in the same wave."""
    hashes = {stage.hash for stage in missing}
    first = next(s for s in missing if not any(i.hash in hashes for i in s.inputs.values()))
    kind = _kind(first)
    wave: list[Stage] = []
    for stage in missing:
        inputs = {i.hash for i in stage.inputs.values()} & hashes
        if _kind(stage) == kind and inputs <= {s.hash for s in wave}:
            wave.append(stage)
    return wave


def _kind(stage: Stage) -> str:
    return stage.name if stage.name in ("data", "styles") else "train"


def _make(stages: list[Stage], work_dir: Path, launch) -> None:
    jobs = [cache.job(stage, work_dir) for stage in stages]
    if not jobs:
        return
    if _kind(stages[0]) == "train":
        try:
            launch(work.train, jobs)
        except (ValueError, OSError):
            for stage in stages:  # what has come to no checkpoint is nothing to go on from
                if not (stage.part(work_dir) / checkpoint.NAME).exists():
                    cache.forget_part(stage, work_dir)
            raise
    elif stages[0].name == "styles":
        for one in jobs:
            launch(work.style_shard, work.style_shards(one), pool=True)
            work.merge_styles(one)
    else:
        for stage, one in zip(stages, jobs, strict=True):
            try:
                work.make_data(one)
            except (ValueError, OSError):  # nothing in it is worth keeping
                cache.forget(stage, work_dir)
                raise
