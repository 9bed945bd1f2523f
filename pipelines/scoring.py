"""The scores stages: a saved model on a data set's query and gallery, and what they become under other rules of evaluation.

`plan` says which stages, `score` is their work.
"""

import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch

from pipelines import cache, evaluating, results
from pipelines.cache import Given, Stage
from pipelines.device import stage_work
from pipelines.files import reporter, save_array
from pipelines.graph import VERSIONS
from pipelines.training import trained_method
from reid_da import distributed
from reid_da.images import ImageStore
from reid_da.ranking import evaluate as rank_features
from reid_da.ranking import k_reciprocal_rerank, rank_metrics

OF_DATA = ("target", "data", "same_camera")  # options of run.py that say what a model is tried on
KEPT = (
    "source",
    "method",
    "recipe",
    "seed",
    "data_seed",
    "gan_seed",
    "height",
    "width",
)  # of what a model tells of itself
NEAREST = 50  # gallery images whose order is kept of a re-ranking, for the ranked lists


def check_model(own: dict) -> None:
    """Refuse a command without model=, and options of run.py that a trained model leaves nothing to do."""
    if not own["model"] or not isinstance(own["model"], str):
        raise ValueError(
            "which model? give model=RUN_ID, model=models:/NAME@ALIAS, or model=/path of a method's folder"
        )
    for argument in own["given"]:
        if argument.partition("=")[0].partition(".")[0] not in OF_DATA:
            raise ValueError(
                f"{argument}: the model is trained, and says its images' size; expected {', '.join(OF_DATA)}"
            )


def check(own: dict) -> None:
    """Refuse options of conf/evaluate.yaml that are none."""
    check_model(own)
    if not isinstance(own["rerank"], bool):
        raise ValueError(f"rerank is {own['rerank']}; expected true or false")
    for name, least in (("k1", 1), ("k2", 1), ("single_shot", 0)):
        if isinstance(own[name], bool) or not isinstance(own[name], int) or own[name] < least:
            raise ValueError(f"{name} is {own[name]}; expected a whole number, {least} or more")
    share = own["lambda_value"]
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ValueError(f"lambda_value is {share}; expected a number from 0 to 1")


def plan(model: Given, data: Stage, own: dict, settings: dict) -> list[Stage]:
    """The data, the model's scores on it and, for each rule that is given, the scores by it, inputs first.

    Args:
        model: see saved.find. data: the target's data stage, at the model's size. own: conf/evaluate.yaml's values.
    Raises:
        ValueError: the data set has no query and gallery.
    """
    if not data.about["judged"]:
        raise ValueError(f"{data.about['dataset']} is not for evaluation: {'; '.join(data.about['notes'])}")
    usual, about = {"same_camera": True} if settings["same_camera"] else {}, _about(model, data, settings)
    rules = {}
    if own["rerank"]:
        rules["re-ranked"] = {"rerank": {"k1": own["k1"], "k2": own["k2"], "lambda_value": float(own["lambda_value"])}}
    if own["single_shot"]:
        rules["single shot"] = {"single_shot": own["single_shot"]}
    inputs = {"model": model, "target": data}
    plain = Stage("scores", model.about["method"], usual, inputs, VERSIONS["scores"], _named(about, usual))
    graph = [data, plain]
    for label, rule in rules.items():
        inputs = {"target": data, "scores": plain}
        graph.append(Stage("scores", label, usual | rule, inputs, VERSIONS["scores"], _named(about, usual | rule)))
    return graph


def _about(model: Given, data: Stage, settings: dict) -> dict:
    """Of the model, but for the data set that it is tried on."""
    mark = "evaluated=true" if model.about["trained_on"] == data.hash else ""  # not the same row as the training's own
    if not mark and model.about.get("target"):
        mark = f"trained_for={model.about['target']}"
    variant = " ".join(part for part in (model.about.get("variant", "default"), mark) if part)
    learned, drawn = model.about["data"].split("->")[0], data.settings.get("draw")
    seen = "synthetic" if drawn else "disk"
    kept = {key: model.about.get(key, "") for key in KEPT}
    return kept | {
        "target": settings["target"]["name"],
        "variant": variant.removeprefix("default "),
        "data": learned if learned == seen else f"{learned}->{seen}",
        "data_seed": drawn["seed"] if drawn else kept["data_seed"],
    }


def _named(about: dict, rules: dict) -> dict:
    told = rules | ({"rerank": True} | rules["rerank"] if "rerank" in rules else {})
    told = [f"{key}={value}".lower() for key, value in told.items()]
    return about | {"variant": " ".join([about["variant"], *told]).removeprefix("default ")}


def as_settings(about: dict) -> dict:
    """What the views of a run's results want to know of its settings."""
    names = {role: {"name": about[role]} for role in ("source", "target")}
    return names | {"recipe": about["recipe"], "seed": about["seed"]}


def table(found: dict[str, dict], about: dict) -> str:
    """The scores, a line for each of the stages, and what stands beside them. found: label -> result.json."""
    lines = [results.table(found, as_settings(about), about["data"])]
    for label, result in found.items():
        scores = result["target"]
        of = f"{scores['num_valid_queries']} of {scores['num_queries']} queries are valid"
        lines.append(f"{label}: mINP {100 * scores['mINP']:.1f}; {of}")
    return "\n".join(lines)


@stage_work
def score(job: dict) -> None:
    """One scores stage; a finished one is passed over. All ranks embed, the first one ranks again."""
    first = distributed.rank() == 0
    with cache.writing(job) if first else nullcontext():
        if distributed.broadcast(Path(job["folder"]).is_dir()):
            return
        began = time.perf_counter()
        if "model" in job["inputs"]:
            method = trained_method(Path(job["inputs"]["model"])).to(distributed.device())
            report = partial(reporter(job), phase="embedding")
            data = Path(job["inputs"]["target"])
            metrics, features = evaluating.evaluate_on(method, data, report, **job["settings"])
            for split in features if first else ():
                save_array(Path(job["part"]) / f"{split}_features.npy", features[split].cpu().numpy())
        else:
            metrics = distributed.of_first(partial(_again, job))
        if first:
            result = {"target": evaluating.as_dict(metrics), "seconds": time.perf_counter() - began}
            cache.write_json(Path(job["part"]) / "result.json", result)
            cache.finish(job)
        distributed.broadcast(None)  # nobody goes on before the folder is in place


def _again(job: dict):
    """The same features ranked by the stage's rules."""
    stores = [ImageStore(Path(job["inputs"]["target"]) / split) for split in ("query", "gallery")]
    paths = [Path(job["inputs"]["scores"]) / f"{split}_features.npy" for split in ("query", "gallery")]
    features = [torch.from_numpy(np.load(path)).to(distributed.device()) for path in paths]
    who = [(store.persons, store.cameras) for store in stores]
    rules = dict(job["settings"])
    if "rerank" not in rules:
        return rank_features(features[0], *who[0], features[1], *who[1], **rules)
    distances = k_reciprocal_rerank(*features, **rules.pop("rerank"))
    persons = stores[1].persons
    most = min(
        distances.shape[1], NEAREST + int(np.unique(persons[persons > 0], return_counts=True)[1].max())
    )  # some of them do not count
    nearest = torch.cat([part.topk(most, largest=False).indices.cpu() for part in distances.split(512)])
    save_array(Path(job["part"]) / "nearest.npy", nearest.numpy().astype(np.int32))
    return rank_metrics(distances, *who[0], *who[1], **rules)


def numbers(found: dict[str, dict]) -> dict[str, float]:
    """The scores as MLflow's metrics: "re-ranked/mAP" and the like."""
    flat = {
        f"{label.replace(', ', ' ')}/{k}": v for label, result in found.items() for k, v in result["target"].items()
    }
    return {name: value for name, value in flat.items() if not isinstance(value, list)}
