"""The run of the stage graph: what is missing is made, by whom, and under which locks.

`run(settings, launch, track)` makes what is missing under settings["work_dir"] and returns every method's result. It needs torch,
torchvision, numpy and Pillow alone; `launch` says where work is done (pipelines/cluster.py; its Inline does it in this process).
"""

import json
import os
from functools import partial
from pathlib import Path

from pipelines import cache, graph, measuring, retrieving, scoring, searching, shards, stopping, styling, training
from pipelines.cache import Stage
from pipelines.reading import make_data
from reid_da import checkpoint, distributed

USER_ERRORS = (ValueError, OSError, FloatingPointError)
WORK = {
    "styles": styling.style,
    "measures": measuring.measure,
    "style_retrieval": retrieving.retrieve,
    "scores": scoring.score,
    "features": searching.embed_split,
}


class Quiet:
    """Says what happens in a line each: what stands in for tracking where there is none."""

    def say(self, line: str) -> None:
        print(line, flush=True)

    def begin(self, stages: list[Stage]) -> None:
        self.say("making " + ", ".join(stage.label for stage in stages))

    def end(self, stage: Stage, reused: bool) -> None:
        self.say(f"{stage.label}: {'reused' if reused else 'made'}")


class Silent(Quiet):
    """Says nothing: somebody else tells."""

    def say(self, line: str) -> None:
        pass


def run(settings: dict, launch, track=None) -> dict[str, dict]:
    """Make every stage of the plan that is missing; stage name -> result.json of each trained method.

    Args:
        settings: plain values as conf/ composes them. launch: launch(worker, jobs, on="group") calls worker(job) for each
            job, in turn in one group of launch.num_workers, or spread over a "pool" or all "cores"; launch.together: a launch has
            its price, so that one should do for several stages. track: begin, end and say (see Quiet).
    """
    plan = graph.plan(settings, launch.num_workers)
    make(plan, settings, launch, track)
    return of_methods(plan, settings)


def of_methods(plan: list[Stage], settings: dict) -> dict[str, dict]:
    """Stage name -> result.json of each finished method of the plan."""
    return {stage.name: result(stage, settings) for stage in plan if stage.name in settings["methods"]}


def result(stage: Stage, settings: dict) -> dict:
    """The result.json of a finished stage."""
    return json.loads((stage.folder(Path(settings["work_dir"]).absolute()) / "result.json").read_text())


def forget(stages: list[Stage], settings: dict, say) -> set[str]:
    """Remove those of the stages, inputs first, whose kind settings["force"] names, and what is made from them; their hashes."""
    work_dir, doomed = Path(settings["work_dir"]).absolute(), set()
    for stage in stages:
        if stage.name in settings["force"] or any(one.hash in doomed for one in stage.inputs.values()):
            with cache.locked([stage], work_dir, say):
                cache.forget(stage, work_dir)
            doomed.add(stage.hash)
    return doomed


def make(stages: list[Stage], settings: dict, launch, track=None, early: dict[str, dict] | None = None) -> None:
    """Make those of a graph's stages that are missing.

    Args:
        settings: work_dir and force of the run; the rest as for `run`. early: hash -> what stopping.watch needs of trainings
            that may end early; one that does stays unfinished, and so does what is made from it.
    """
    track = track or Quiet()
    work_dir = Path(settings["work_dir"]).absolute()
    forget(stages, settings, track.say)
    ended: set[str] = set()

    def end(stage: Stage, reused: bool) -> None:
        track.end(stage, reused)
        ended.add(stage.hash)
        for line in remarks(stage, settings):
            track.say(line)
        for line in styling.remarks(stage.folder(work_dir)) if stage.name == "styles" and not reused else ():
            track.say(line)

    for stage in stages:
        if stage.finished(work_dir):
            with cache.locked([stage], work_dir, track.say):  # its maker may still be at its views
                end(stage, reused=True)
    while missing := [s for s in stages if s.hash not in ended]:
        wave = _wave(missing, launch)
        with cache.locked(wave, work_dir, track.say):
            made = [s for s in wave if not s.finished(work_dir)]  # another command may have been faster
            for stage in made:
                cache.start(stage, work_dir)
            track.begin(made)
            try:
                if made:
                    _make(made, settings, launch, early or {})
            except USER_ERRORS:
                for stage in made:  # what was whole before is shown: poor styles, too
                    if stage.finished(work_dir):
                        end(stage, reused=False)
                raise
            for stage in wave:
                if stage.finished(work_dir):
                    end(stage, reused=stage not in made)
                else:  # a training that has stopped itself, or what it was to be the input of
                    _forget_empty(stage, work_dir)
                    ended.add(stage.hash)


def remarks(stage: Stage, settings: dict) -> list[str]:
    """What is to be told of a finished stage: what a data set's files are, and which were left out; measures that fail or
    cannot be told.

    Raises:
        ValueError: styles below their bounds where gan.require_quality is set.
    """
    if stage.name == "measures":
        found, gan = result(stage, settings), settings["gan"]
        failed = measuring.failings(found, gan["bounds"])
        if failed and gan["require_quality"]:
            raise ValueError(measuring.refusal(stage.label, failed))
        return [f"WARNING: poor styles: {', '.join(failed)}"] * bool(failed) + found.get("notes", [])
    if stage.name != "data":
        return []
    found = result(stage, settings)
    skipped = {split: counts["skipped"] for split, counts in found["splits"].items() if counts["skipped"]}
    told = [] if "draw" in stage.settings else [*found.get("files", [])]
    told += [f"{len(paths)} unreadable images left out of {split}: {paths[0]} ..." for split, paths in skipped.items()]
    return [f"{stage.label}: {line}" for line in told]


def _wave(missing: list[Stage], launch) -> list[Stage]:
    """The next stages to make in one launch: all of one kind whose missing inputs come earlier in the same wave."""
    hashes = {stage.hash for stage in missing}
    first = next(s for s in missing if not any(i.hash in hashes for i in s.inputs.values()))
    if not launch.together:
        return [first]
    kind = _kind(first, launch)
    wave: list[Stage] = []
    for stage in missing:
        inputs = {i.hash for i in stage.inputs.values()} & hashes
        if _kind(stage, launch) == kind and inputs <= {s.hash for s in wave}:
            wave.append(stage)
    return wave


def _kind(stage: Stage, launch) -> str:
    """Who makes it: all cores ("data"), a pool ("styles", "measures"), or the training group.

    A group of one worker is a pool of one: it does all in turn, and is started once.
    """
    if stage.name == "data" or (stage.name in ("styles", "measures") and launch.num_workers > 1):
        return stage.name
    return "group"


def work(job: dict) -> None:
    """One stage's work in the training group; none where an input, or another seed of the trial, has stopped itself."""
    there = distributed.broadcast(all(map(os.path.isdir, job["inputs"].values())))  # a rank may see a shared disk later
    if not there or ("early" in job and stopping.ended(job["early"])):
        return
    if job["name"] in WORK:
        WORK[job["name"]](job)
        if "gate" in job:
            measuring.gate(job)
    else:
        training.train(job, stopping.watch if "early" in job else None)


def _make(stages: list[Stage], settings: dict, launch, early: dict[str, dict]) -> None:
    work_dir, kind = Path(settings["work_dir"]).absolute(), _kind(stages[0], launch)
    how = {"channels_last": settings["channels_last"], "compile": settings["compile"]}
    how["resident"] = settings["data"]["cache"] == "device"
    how["stage_dir"] = os.path.abspath(settings["data"]["stage_dir"]) if settings["data"]["stage_dir"] else None
    jobs = [
        cache.job(s, work_dir) | {"how": how} | ({"early": early[s.hash]} if s.hash in early else {}) for s in stages
    ]
    gate = {"gate": {"bounds": settings["gan"]["bounds"], "required": settings["gan"]["require_quality"]}}
    jobs = [job | gate if job["name"] == "measures" else job for job in jobs]
    try:
        if kind == "group":
            launch(work, jobs)
        elif kind == "measures":
            launch(measuring.measure, jobs, on="pool")
        elif kind == "styles":
            for one in jobs:
                launch(styling.style_shard, styling.style_shards(one), on="pool")
                styling.finish_styles(one)
        else:
            for one in jobs:
                make_data(one, partial(launch, on="cores"))
    except USER_ERRORS:
        for stage in stages:
            if not stage.finished(work_dir):
                _forget_empty(stage, work_dir)
        raise


def _forget_empty(stage: Stage, work_dir: Path) -> None:
    """Remove a part that has come to no checkpoint and no shard of styles: nothing to go on from."""
    part = stage.part(work_dir)
    if not checkpoint.there(part) and (stage.name == "data" or not shards.recorded(part)):
        cache.forget_part(stage, work_dir)
