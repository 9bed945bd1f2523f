"""The scores stages: a saved model on a data set's query and gallery, and what they become under other rules of evaluation.

`plan` says which stages, `score` is their work. Knows no ray, no mlflow, no hydra.
"""

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipelines import cache, evaluating, results
from pipelines.cache import Given, Stage
from pipelines.files import save_array
from pipelines.training import trained_method
from reid_da import distributed
from reid_da.augment import normalise
from reid_da.images import ImageStore
from reid_da.ranking import evaluate as rank_features
from reid_da.ranking import k_reciprocal_rerank, rank_metrics

EXPORTED = Path("data") / "model.pt2"  # in the folder of an MLflow model
VERSION = 1
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


def check(own: dict) -> None:
    """Refuse options of conf/evaluate.yaml that are none."""
    if not own["model"] or not isinstance(own["model"], str):
        raise ValueError(
            "which model? give model=RUN_ID, model=models:/NAME@ALIAS, or model=/path of a method's folder"
        )
    if not isinstance(own["rerank"], bool):
        raise ValueError(f"rerank is {own['rerank']}; expected true or false")
    for name, least in (("k1", 1), ("k2", 1), ("single_shot", 0)):
        if isinstance(own[name], bool) or not isinstance(own[name], int) or own[name] < least:
            raise ValueError(f"{name} is {own[name]}; expected a whole number, {least} or more")
    if not isinstance(own["lambda_value"], int | float) or not 0 <= own["lambda_value"] <= 1:
        raise ValueError(f"lambda_value is {own['lambda_value']}; expected a number from 0 to 1")


def plan(model: Given, data: Stage, own: dict, settings: dict) -> list[Stage]:
    """The data, the model's scores on it and, where rules are given, the scores by them, inputs first.

    Args:
        model: see saved.find. data: the target's data stage, at the model's size. own: conf/evaluate.yaml's values.
    Raises:
        ValueError: the data set has no query and gallery.
    """
    if not data.about["judged"]:
        raise ValueError(f"{data.about['dataset']} is not for evaluation: {'; '.join(data.about['notes'])}")
    usual = {"same_camera": True} if settings["same_camera"] else {}
    rules, name = dict(usual), []
    if own["rerank"]:
        rules["rerank"] = {key: own[key] for key in ("k1", "k2", "lambda_value")}
        name.append("re-ranked")
    if own["single_shot"]:
        rules["single_shot"] = own["single_shot"]
        name.append("single shot")
    about = _about(model, data, settings)
    plain = Stage(
        "scores", model.about["method"], usual, {"model": model, "target": data}, VERSION, _named(about, usual)
    )
    graph = [data, plain]
    if name:
        inputs = {"target": data, "scores": plain}
        graph.append(Stage("scores", ", ".join(name), rules, inputs, VERSION, _named(about, rules)))
    return graph


def _about(model: Given, data: Stage, settings: dict) -> dict:
    """Of the model, but for the data set that it is tried on."""
    target, variant = settings["target"]["name"], model.about.get("variant", "default")
    if (own := model.about.get("target")) and own != target:
        variant = f"{variant} trained_for={own}".removeprefix("default ")
    learned, seen = model.about["data"].split("->")[0], "synthetic" if "draw" in data.settings else "disk"
    kind = learned if learned == seen else f"{learned}->{seen}"
    kept = {key: model.about.get(key, "") for key in KEPT}
    return kept | {"target": target, "variant": variant, "data": kind}


def _named(about: dict, rules: dict) -> dict:
    told = rules | {"rerank": "rerank" in rules} | rules.get("rerank", {})
    told = [f"{key}={value}".lower() for key, value in told.items() if value and not isinstance(value, dict)]
    return about | {
        "variant": " ".join([about["variant"], *told]).removeprefix("default ") if told else about["variant"]
    }


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


def score(job: dict) -> None:
    """One scores stage; a finished one is passed over. All ranks embed, the first one ranks again."""
    first = distributed.rank() == 0
    with cache.writing(job) if first else nullcontext():
        if distributed.broadcast(Path(job["folder"]).is_dir()):
            return
        torch.set_num_threads(job["threads"])
        began = time.perf_counter()
        if "model" in job["inputs"]:
            method, to_input = loaded(Path(job["inputs"]["model"]))
            data = Path(job["inputs"]["target"])
            metrics, features = evaluating.evaluate_on(
                method.to(distributed.device()), data, to_input, **job["settings"]
            )
            for split in features if first else ():
                save_array(Path(job["part"]) / f"{split}_features.npy", features[split].cpu().numpy())
        elif first:
            metrics = _again(job)
        if first:
            result = {"target": evaluating.told(metrics), "seconds": time.perf_counter() - began}
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
    most = min(distances.shape[1], NEAREST + int(np.bincount(who[1][0].clip(0)).max()))  # some of them do not count
    nearest = torch.cat([part.topk(most, largest=False).indices.cpu() for part in distances.split(512)])
    save_array(Path(job["part"]) / "nearest.npy", nearest.numpy().astype(np.int32))
    return rank_metrics(distances, *who[0], *who[1], **rules)


class Exported(nn.Module):
    """The program of an MLflow model (pipelines/models.py), which has its own preprocessing: `embed` takes uint8 pixels."""

    def __init__(self, path: Path):
        super().__init__()
        self.program = torch.export.load(path).module()

    def train(self, mode: bool = True) -> "Exported":
        """Does nothing: it was exported as it evaluates."""
        return self

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """(B, H, W, 3) uint8 -> (B, D). One image alone is given twice: programs are exported for two and more."""
        return self.program(images) if len(images) > 1 else self.program(images.repeat(2, 1, 1, 1))[:1]


def loaded(folder: Path) -> tuple[nn.Module, Callable]:
    """The model of a method's stage folder or of an MLflow model's, on the CPU, and what makes its input of uint8 pixels.

    Raises:
        ValueError: the stage has learned nothing (training.trained_method).
    """
    if (folder / EXPORTED).exists():
        return Exported(folder / EXPORTED), lambda images: images
    return trained_method(folder), normalise


def numbers(found: dict[str, dict]) -> dict[str, float]:
    """The scores as MLflow's metrics: "re-ranked/mAP" and the like."""
    flat = {
        f"{label.replace(', ', ' ')}/{k}": v for label, result in found.items() for k, v in result["target"].items()
    }
    return {name: value for name, value in flat.items() if not isinstance(value, list)}


def described(folder: Path) -> dict:
    """What a method's stage folder says of its model: its hash, its kind of stage, and `about` as the views have it."""
    stage = json.loads((folder / "stage.json").read_text())
    return {"hash": stage["hash"], "name": stage["name"], "about": stage["about"]}
