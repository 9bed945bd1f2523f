"""Camera styles as files that the HHL and ECN code reads: <stem>_fake_<k>.jpg for every training image and camera.

Where two images share a stem, their paths stand for it: camera_3/0001.jpg in camera 7's style is camera_3__0001_fake_7.jpg.

python pipelines/export_styles.py target=duke to=exported                          # makes what is missing: data, generator, styles
python pipelines/export_styles.py target=duke to=exported data=disk data.root=/datasets recipe=paper
python pipelines/run.py source=market target=duke gan=folder gan.root=exported     # reads them back, without a generator

No source is needed. Stages that are made here have no MLflow runs until a run.py that reuses them gives them theirs.
"""

from collections.abc import Callable
from pathlib import Path

from pipelines import command


def story(own: dict, compose: Callable[[list[str]], dict]) -> None:
    """Check, make the styles unless they are there, and write them."""
    from pipelines import (  # slow to import (torch): Ctrl-C is heeded before
        cluster,
        data_stage,
        exporting,
        graph,
        ready_styles,
        stages,
    )
    from pipelines.progress import Screen

    exporting.check(own)
    settings = compose(command.source_of_target(own["given"]))
    with cluster.connect(settings) as launch:
        plan = graph.styles(settings, launch.num_workers)
        work_dir, to = Path(settings["work_dir"]).absolute(), Path(own["to"]).expanduser().absolute()
        # refuses what none can be given
        ready_styles.names([path for path, _ in data_stage.training_files(settings, "target")])
        exporting.refuse_others(to, plan[-1], own["quality"])
        print(f"{plan[-1].label} of {settings['target']['name']}, recipe {settings['recipe']}, to {to}", flush=True)
        with Screen(work_dir) as screen:
            stages.make(plan, settings, launch, screen)
        written, total = exporting.export(plan[-1], work_dir, to, own["quality"])
    print(f"{total} styles in {to}, {written} of them written now; to train with them: gan=folder gan.root={to}")


if __name__ == "__main__":
    command.many_main(story, "export_styles", {}, cluster="local")
