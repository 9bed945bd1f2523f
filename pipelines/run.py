"""The whole job: data, camera styles, baseline, HHL and ARN, results.

python pipelines/run.py source=market target=duke                                  # drawn data, minutes on two cores
python pipelines/run.py source=market target=duke data=disk data.root=/datasets recipe=paper
"""

from pathlib import Path

from pipelines import cluster, command, data_stage, results, stages
from pipelines.progress import Screen


def story(settings: dict) -> None:
    """Check, make what is missing, and show it."""
    with cluster.connect(settings) as launch:
        plan = stages.plan(settings, launch.num_workers)
        print(banner(settings, plan), flush=True)
        from pipelines.tracking import Tracking  # slow to import: after what is wrong has been said

        work_dir = Path(settings["work_dir"]).absolute()
        with Screen(work_dir) as screen, Tracking(settings, plan, screen) as track:
            found = stages.run(settings, launch, track)
            path = results.write_csv(work_dir, track.run_ids())
            track.finish(found)
    whole = all(stage.about.get("whole") for stage in plan if stage.name == "data")
    print(results.table(found, settings, data_stage.origin(settings), whole))
    print(f"{path}; pictures in {work_dir / 'figures'}")
    print(f"to browse: mlflow ui --backend-store-uri {track.uri}")


def banner(settings: dict, plan: list) -> str:
    """Which data and recipe, never in doubt, and what is unusual about the data."""
    data, recipe = data_stage.origin(settings), settings["recipe"]
    lines = [f"{settings['source']['name']} -> {settings['target']['name']}: {data} data, recipe {recipe}"]
    size = "{height}x{width}".format(**settings["images"])
    backbone, generator = (
        b["_target_"].rpartition(".")[2] for b in (settings["backbone"], settings["gan"]["generator"])
    )
    lines.append(f"{size} pixels, backbone {backbone}, generator {generator}")
    if generator != "Generator" or backbone != "resnet50":
        lines.append("not the papers' networks (resnet50, Generator): recipe=paper has them")
    if recipe == "quick" and data != "synthetic":
        lines.append("on real images its figures are no measure of the methods: recipe=paper is the published setting")
    return "\n".join(lines + [note for stage in plan for note in stage.about.get("notes", [])])


if __name__ == "__main__":
    command.main(story)
