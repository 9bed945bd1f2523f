"""Who is this? The crops of a data set that are nearest to a query's, by any saved model, as a list, JSON and a picture.

python pipelines/search.py model=models:/reid-market-to-folder@hhl target=folder target.root=crops query=crops/camera_3/0001.jpg
python pipelines/search.py model=outputs/cache/hhl/HASH target=duke query=/folder/of/images k=5

The features of the data set's crops are computed once; another query takes the time of its own crop.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pipelines import command

TOLD = 5  # queries whose crops are listed on the screen; the file has all


def story(own: dict, compose: Callable[[list[str]], dict]) -> None:
    """Find the model, embed what is searched unless that is done, and answer."""
    from pipelines import (  # slow to import (torch): Ctrl-C is heeded before
        cache,
        cluster,
        data_stage,
        figures,
        graph,
        saved,
        searching,
        sheets,
        stages,
    )
    from pipelines.progress import Screen, bar

    searching.check(own)
    paths = searching.queries(own["query"])
    model, settings = saved.with_model(own["model"], compose(command.source_of_target(own["given"])))
    work_dir = Path(settings["work_dir"]).absolute()
    with cluster.connect(settings) as launch:
        data = data_stage.data_stage(settings, "target", graph.VERSIONS["data"], judging=True)
        features = searching.plan(model, data, own)[-1]
        with Screen(work_dir) as screen:
            stages.forget([data, features], settings, screen.say)
            make = partial(stages.make, settings=settings | {"force": []}, launch=launch, track=screen)
            make([data])
            rows = searching.rows(features, work_dir, own["cameras"])  # an unknown camera is told before the long work
            make([features])
    answers, found = searching.Answers(features, work_dir, rows), []
    about = {key: model.about[key] for key in ("method", "source", "height", "width")}
    about |= {"model": own["model"], "target": data.about["dataset"], "among": features.settings["split"]}
    about |= {"crops": len(answers.rows), "cameras": own["cameras"]}
    told = "{method} of {source} on {crops:,} crops of {target} ({among}), {height}x{width} pixels"
    print(f"{told.format(**about)}: Euclidean distances of features, 0 to 2")
    for answer in bar(answers.of(paths, own["k"]), len(paths), "searching", "query"):
        found.append(answer)
    for answer in found[:TOLD]:
        print("\n".join(searching.lines(answer)))
    asked = [features.hash, str(own["k"]), str(own["cameras"]), *paths]
    key = hashlib.sha256("\0".join(asked).encode()).hexdigest()[:8]
    folder = work_dir / "searches" / f"{Path(own['query']).stem}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    cache.write_json(folder / "answers.json", about | {"answers": found})
    figures.save(folder / "answers.png", sheets.answers(found, answers.picture, answers.store, answers.names))
    more = f"{len(found) - TOLD} more queries in " if len(found) > TOLD else ""
    print(f"{more}{folder / 'answers.json'}, picture beside it")


if __name__ == "__main__":
    command.many_main(story, "search", {}, cluster="inline")
