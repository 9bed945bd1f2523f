"""The whole job: data, camera styles, baseline, HHL and ARN, results.

python pipelines/run.py source=market target=duke                                  # drawn data, minutes on two cores
python pipelines/run.py source=market target=duke data=disk data.root=/datasets recipe=paper
"""

from functools import partial
from pathlib import Path

from pipelines import command


def story(settings: dict) -> None:
    """Check, make what is missing, and show it."""
    # slow to import (torch): Ctrl-C is heeded before
    from pipelines import cluster, data_limits, data_stage, graph, identity, results, stages
    from pipelines.progress import Screen

    identity.check_taken(settings)
    with cluster.connect(settings) as launch:
        data = graph.data_stages(settings)
        settings = data_limits.settled(settings, data)  # as they are recorded
        plan = graph.plan(settings, launch.num_workers, data)
        bound = graph.upper_bound(settings, data) if settings["upper_bound"] else []
        print(results.banner(settings, plan), flush=True)
        from pipelines import figures, logged  # slow to import: after what is wrong has been said
        from pipelines.tracking import Tracking

        work_dir = Path(settings["work_dir"]).absolute()
        remarks = partial(stages.remarks, settings=settings)
        tags = logged.names(settings) | data_limits.not_judged(data["target"])
        with Screen(work_dir, remarks) as screen, Tracking(settings, plan, screen, tags=tags) as track:
            stages.make(list({one.hash: one for one in (*plan, *bound)}.values()), settings, launch, track)
            found = stages.of_methods(plan, settings)
            with track.alone():
                path = results.write_csv(work_dir, track.run_ids())
                pictures = figures.of_pipeline(found, settings, plan, track.key, track.say)
                whole = all(stage.about.get("whole") for stage in plan if stage.name == "data")
                table = results.table(found, settings, data_stage.origin(settings), whole)
                plain = (settings["baseline"]["labels"], settings["baseline"]["bn"]) == ("source", "source")
                shared = {name: result for name, result in found.items() if plain or name != "baseline"}
                reached = results.share_of_gain(shared, stages.result(bound[-1], settings)) if bound else {}
                measures = [stages.result(stage, settings) for stage in plan if stage.name == "measures"]
                table += results.of_styles(measures, reached, settings, whole)
                kept = _models(plan, settings, track) if settings["register"] else []
                track.finish(logged.of_methods(found) | reached, pictures, [path], table)
    print("\n".join([table, *kept]))
    print(f"{path}; pictures in {work_dir / 'figures'}")
    print(f"to browse: {track.store.how_to_browse()}")


def _models(plan: list, settings: dict, track) -> list[str]:
    """Register the methods' models, a line each."""
    from pipelines import models

    last = {one.name: one for one in plan if one.name in settings["methods"] and "optimiser" in settings[one.name]}
    kept = [models.keep(track.store, one, name) for name, one in last.items()]
    return [f"model: {line}" for line in kept]


if __name__ == "__main__":
    command.main(story)
