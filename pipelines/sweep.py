"""A search over options, by default HHL's beta and n_t, with Ray Tune: which values, how sure, and could one tell without labels?

python pipelines/sweep.py source=market target=duke                                # 12 trials
python pipelines/sweep.py source=market target=duke sweep=beta sweep.seeds=[0,1,2]
python pipelines/sweep.py source=market target=duke 'sweep.space.hhl.margin=[0.1,0.3,0.5]'
python pipelines/sweep.py source=market target=duke sweep.search=tpe 'sweep.space.beta={from: 0.05, to: 2.0, log: true}'
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pipelines import command, options


def story(own: dict, compose: Callable[[list[str]], dict]) -> None:
    """Plan the trials, make what they share, run them, and show what came out."""
    from pipelines import (
        budget,
        cluster,
        graph,
        results,
        space,
        stages,
        sweeps,
    )  # slow to import (torch): Ctrl-C is heeded before
    from pipelines.progress import Screen

    block, base = _asked(own, compose)
    with cluster.connect(base) as launch:
        data = None if sweeps.changes_data(block) else graph.data_stages(base)
        points = space.points(block)
        known = points or [p for p in (space.first(block), *space.corners(block)) if len(p) == len(block["space"])]
        trials = [sweeps.trial(block, p, base, options.changed, launch.num_workers, data) for p in known]
        sweeps.check_distinct(trials if points else [])
        left_out = sweeps.left_out(block, base, trials[0].trained()[0].inputs["target"])
        lines = [results.banner(base, trials[0].graphs[0]), sweeps.headline(block, base), *left_out]
        print("\n".join(lines), flush=True)
        at_once, words = _room(block, launch)
        count = len(points) if points else block["num_trials"]
        left = count - sum(one.trained_whole() for one in trials) if points and not base["force"] else count
        needs = budget.check_disk(trials[0], left, at_once) / 2**20
        made = f", {left} of them to be made" * (left < count)
        print(
            f"{count} trial{'s' * (count > 1)}{made}, {at_once} at a time, {words}; about {needs:.0f} MB of disk",
            flush=True,
        )
        from pipelines.sweep_views import Views
        from pipelines.tracking import Tracking

        plan = list({stage.hash: stage for one in trials for stage in one.shared()}.values())
        tags = {"source": base["source"]["name"], "target": base["target"]["name"], "recipe": base["recipe"]}
        about = {"kind": "sweep", "name": sweeps.name(block, base), "key": sweeps.key(block, trials), "tags": tags}
        work_dir = Path(base["work_dir"]).absolute()
        remarks = partial(stages.remarks, settings=base)
        with Screen(work_dir, remarks) as screen, Tracking(base, plan, screen, **about, ranked_lists=False) as track:
            began = time.monotonic()
            folder = work_dir / "sweeps" / track.key
            views = Views(
                block,
                own["given"],
                base,
                folder,
                track,
                count,
                lambda p: sweeps.trial(block, p, base, options.changed, launch.num_workers, data),
            )
            sweeps.forget(trials, base, folder, track.say)
            stages.make(plan, base | {"force": []}, launch, track)
            views.prepared(trials, at_once, time.monotonic() - began, left)
            _search(block, base, launch, folder, points, at_once, views)
            print(views.finish(), flush=True)
    print(f"to browse: {track.store.how_to_browse()}")


def _asked(own: dict, compose: Callable[[list[str]], dict]) -> tuple[dict, dict]:
    """The sweep's block with its space typed, and the settings of the command line; what no sweep can be made of is refused."""
    from pipelines import space

    block = own["sweep"] | {"known_methods": options.method_names()}
    space.check(block)
    for argument in own["given"]:
        if argument.partition("=")[0] in block["space"]:
            raise ValueError(f"{argument}: the sweep sets it; take it out of sweep.space, or off the command line")
    base = compose([f"methods=[{space.method_of(block)}]"])
    block["space"] = space.typed(block["space"], base)
    space.check(block)  # once more: 1 and 1.0 are one value
    if base["force"] and block["search"] == "tpe":
        raise ValueError(
            f"force={base['force']}: which points sweep.search=tpe tries is found on the way, so that nobody knows what to make "
            "again; expected another search, or another work_dir"
        )
    return block, base


def _room(block: dict, launch) -> tuple[int, str]:
    if not launch.together:
        if block["search"] == "tpe":
            raise ValueError(
                "sweep.search=tpe is Ray Tune's; expected cluster=local or cluster=auto, or sweep.search=random"
            )
        return 1, "one after another in this process"
    from pipelines import tuning  # starts Ray

    return tuning.room(block, launch)


def _search(block: dict, base: dict, launch, folder: Path, points, at_once: int, listen) -> None:
    if launch.together:
        from pipelines import tuning

        tuning.search(block, base, launch, folder, points, at_once, listen)
        return
    from pipelines import sweeps

    for point in points:
        one = listen.begin(point)
        try:
            numbers = sweeps.make(block, one, launch, folder)
        except Exception as error:  # as under Ray: a trial without room on the GPU, say, ends nothing but itself
            listen.failed(point, error)
        else:
            listen.end(point, numbers)


INSTEAD = {
    "methods": "'sweep.space.arn.weight_rec=[0.1,0.5]' for another method than hhl",
    "seed": "sweep.seeds=[0,1,2]",
}

if __name__ == "__main__":
    command.many_main(story, "sweep", INSTEAD, cluster="local")
