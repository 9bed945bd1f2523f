"""Any saved model on any data set: CMC, mAP and mINP, ranked lists, and on demand re-ranked or by single gallery shots.

python pipelines/evaluate.py model=models:/reid-market-to-duke@champion target=duke
python pipelines/evaluate.py model=RUN_ID target=msmt17 data=disk data.root=/datasets rerank=true
python pipelines/evaluate.py model=outputs/cache/hhl/HASH target=folder target.root=/path single_shot=100

The model says how large its images are; results stand in the same results.csv and MLflow store as those of run.py.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from pipelines import command

SHOWN = ("data", "images", "same_camera", "cluster", "work_dir", "tracking")  # settings that an evaluation goes by


def story(own: dict, compose: Callable[[list[str]], dict]) -> None:
    """Find the model, make its scores unless they are there, and show them."""
    from pipelines import (  # slow to import (torch): Ctrl-C is heeded before
        charts,
        cluster,
        data_stage,
        figures,
        graph,
        results,
        saved,
        scoring,
        stages,
    )
    from pipelines.progress import Screen

    scoring.check(own)
    model, settings = saved.with_model(own["model"], compose(command.source_of_target(own["given"])))
    work_dir = Path(settings["work_dir"]).absolute()
    with cluster.connect(settings) as launch:
        data = data_stage.data_stage(settings, "target", graph.VERSIONS["data"], judging=True)
        plan = scoring.plan(model, data, own, settings)
        scores = plan[1:]
        about = scores[0].about
        told = "{method} of {source} ({variant}) on {target}: {data} data, {height}x{width} pixels".format(**about)
        print("\n".join([told, *data.about["notes"]]), flush=True)
        from pipelines.tracking import Tracking

        tags = {key: str(about[key]) for key in ("source", "target", "recipe", "seed", "method")}
        run = {
            "kind": "evaluation",
            "name": f"{about['method']} on {about['target']}",
            "tags": tags | {"model": own["model"]},
        }
        shown = {key: settings[key] for key in ("target", *SHOWN)} | {key: own[key] for key in own if key != "given"}
        remarks = partial(stages.remarks, settings=settings)
        with Screen(work_dir, remarks) as screen, Tracking(shown, plan, screen, **run) as track:
            stages.make(plan, settings, launch, track)
            with track.alone():
                found = {stage.label: stages.result(stage, settings) for stage in scores}
                path = results.write_csv(work_dir, track.run_ids())
                curves = work_dir / "figures" / f"cmc-{about['target']}-{track.key}.png"
                figures.save(curves, charts.cmc_curves(found, scoring.as_settings(about)))
                table = scoring.table(found, about)
                track.finish(scoring.numbers(found), [curves], [path], table)
    print(table)
    print(f"{path}; pictures in {work_dir / 'figures'}")
    print(f"to browse: {track.store.how_to_browse()}")


if __name__ == "__main__":
    command.many_main(story, "evaluate", {}, cluster="inline")
