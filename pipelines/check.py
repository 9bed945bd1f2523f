"""What a data set holds and what is wrong with it, told before anything is computed from it.

python pipelines/check.py target=folder target.root=/path/to/crops
python pipelines/check.py source=market target=msmt17 data=disk data.root=/datasets
python pipelines/check.py target=duke                                    # without a folder: the drawn one

Every image is read once. Exit code 2 where a run would be pointless or would stop at a file.
"""

from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from pipelines import command


def story(own: dict, compose: Callable[[list[str]], dict]) -> None:
    """Tell of each data set that is named, then what must be mended."""
    named = {argument.partition("=")[0]: argument.partition("=")[2] for argument in own["given"]}
    roles = [role for role in ("source", "target") if role in named]
    if not roles:
        raise ValueError("which data set? give target=NAME (or source=NAME), such as target=folder target.root=/path")
    from pipelines import cluster, data_report, data_stage, figures, sheets  # slow to import
    from pipelines.build import build
    from reid_da.survey import survey

    settings = compose([f"{role}={named[roles[0]]}" for role in ("source", "target") if role not in roles])
    skip, wrong = settings["data"], []
    with cluster.connect(settings) as launch:
        for role in roles:
            name, root = settings[role]["name"], _root(settings, role, launch)
            dataset = build(settings[role]["reader"], root)
            print(
                f"{role} {name}: {root}\n" + "\n".join(data_report.counts(dataset, settings["same_camera"])), flush=True
            )
            with tqdm(total=dataset.num_images, desc="reading", unit="image", leave=False) as bar:
                found = survey(dataset, lambda done, _, bar=bar: bar.update(done - bar.n))
            if found.unreadable and skip["skip_unreadable"]:
                left = data_report.without(dataset, {path for path, _ in found.unreadable})
                wrong += data_report.emptied(dataset, left)
                dataset = left
                print(f"{len(found.unreadable)} images cannot be read, {found.unreadable[0][0]} first; without them:")
                print("\n".join(data_report.counts(dataset, settings["same_camera"])), flush=True)
            told = data_report.of_files(found) + _notes(settings, role, dataset)
            if role == "target":
                told += data_report.as_target(name, bool(dataset.query), dataset.counts()["train"].cameras)
            path = Path(settings["work_dir"]).absolute() / "figures" / f"check-{role}-{name}.png"
            figures.save(path, sheets.crops_by_camera(dataset, {one for one, _ in found.unreadable}))
            print("\n".join([*told, f"contact sheet: {path}"]), flush=True)
            wrong += data_report.pointless(dataset, name, role, settings["same_camera"]) + data_report.unreadable(
                found, name, skip["skip_unreadable"], path.with_suffix(".txt")
            )
            wrong += data_stage.unmatched(dataset, skip["skip_unmatched"])
    if wrong:
        raise ValueError("\n".join(wrong))
    print("nothing here would stop a run")


def _notes(settings: dict, role: str, dataset) -> list[str]:
    from pipelines import data_report, data_stage

    on_disk = data_stage.data_root(settings, role) is not None  # a drawn one has no published counts
    one = settings[role]
    same_camera = settings["same_camera"]
    if on_disk:
        return data_stage.notes(one["name"], dataset, one["reader"], same_camera)
    return data_report.remarks(dataset, same_camera)


def _root(settings: dict, role: str, launch) -> Path:
    """The data set's folder; one without is drawn first, as a run would."""
    from pipelines import data_stage, graph, stages

    if root := data_stage.data_root(settings, role):
        return Path(root)
    stage = data_stage.data_stage(settings, role, graph.VERSIONS["data"])
    stages.make([stage], settings, launch)
    return stage.folder(Path(settings["work_dir"]).absolute()) / "drawn"


if __name__ == "__main__":
    command.many_main(story, "check", {}, cluster="inline")
