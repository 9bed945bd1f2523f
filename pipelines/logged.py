"""What MLflow is told of stages and commands: their parameters, metrics and tags, as plain values."""

import json
from functools import cache
from pathlib import Path

from pipelines import identity
from pipelines.cache import Stage

ROOT = Path(__file__).resolve().parent.parent


def params(stage: Stage) -> dict[str, object]:
    """A stage's options under the names that they have on the command line."""
    values = stage.settings
    if "method" in values:
        losses = values.get("identity_loss", {})
        return {
            "seed": values["seed"],
            **flat(values["method"], f"{stage.name}."),
            **flat(values["backbone"], "backbone."),
            **({"identity_loss": "+".join(losses) or "softmax"} if identity.takes(values["method"]) else {}),
            **flat(losses, ""),
        }
    if stage.name == "data":
        draw = values.get("draw", {})
        world = {f"data.world.{key}": value for key, value in draw.items() if key not in ("world", "seed")}
        own = {"data.skip_unreadable": values["skip_unreadable"], **flat(values["images"], "images.")}
        return own | ({"data.seed": draw["seed"], **world} if draw else {"root": values["root"]})
    return flat(values, {"generator": "gan."}.get(stage.name, f"{stage.name}."))


def dataset(stage: Stage, work_dir: Path) -> dict[str, str]:
    """A finished data stage as an MLflow data set: its digest is the stage's hash, its profile the counts."""
    folder = stage.folder(work_dir)
    profile = json.loads((folder / "result.json").read_text())["splits"]
    source = {"uri": stage.settings.get("root") or str(folder / "drawn")}
    return {
        "name": f"{stage.about['dataset']} ({stage.about['data']})",
        "digest": stage.hash,
        "source_type": "local",
        "source": json.dumps(source),
        "profile": json.dumps(profile),
    }


def names(settings: dict) -> dict[str, str]:
    roles = {role: settings[role]["name"] for role in ("source", "target")}
    methods = ",".join(settings["methods"])
    return {**roles, "recipe": settings["recipe"], "seed": str(settings["seed"]), "methods": methods}


def flat(block: dict, prefix: str) -> dict[str, object]:
    """Nested settings as full names: {"hhl": {"beta": 0.5}} -> {"hhl.beta": 0.5}."""
    found = {}
    for key, value in block.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def of_methods(results: dict[str, dict]) -> dict[str, float]:
    """A pipeline's metrics: method/mAP and the like, on the target."""
    found = {method: numbers(result) for method, result in results.items()}
    return {f"{method}/{k}": v for method, values in found.items() for k, v in values.items() if "/" not in k}


def numbers(result: dict) -> dict[str, float]:
    """A result.json as metrics. A method's: the target's under their own names, the source's as source/mAP; measures': ratios."""
    found = {f"ratio/{name}": value for name, value in result.get("ratios", {}).items() if value is not None}
    for block in ("truth_distance", "gap"):
        found |= {f"{block}/{name}": value for name, value in result.get(block, {}).items() if value is not None}
    found |= {name: result[name] for name in ("cosine_chance", "identity_real", "rank1_real") if name in result}
    for role, prefix in (("target", ""), ("source", "source/")):
        values = result.get(role) or {}  # None: not judged on it
        found |= {prefix + name: value for name, value in values.items() if isinstance(value, int | float)}
    return found


@cache
def commit(root: Path = ROOT) -> dict[str, str]:
    """The git commit of this code, if it lies in a checkout; read from its files, for which no git has to be there."""
    git = root / ".git"
    if git.is_file():  # of a worktree: says where its own folder is
        git = root / git.read_text().strip().removeprefix("gitdir: ")
    if not (git / "HEAD").is_file():
        return {}
    head = (git / "HEAD").read_text().strip()
    if head.startswith("ref: "):
        name = head.removeprefix("ref: ")
        shared = git / (git / "commondir").read_text().strip() if (git / "commondir").is_file() else git
        packed = (shared / "packed-refs").read_text().splitlines() if (shared / "packed-refs").is_file() else []
        known = {line.partition(" ")[2]: line.partition(" ")[0] for line in packed}
        head = (shared / name).read_text().strip() if (shared / name).is_file() else known.get(name, "")
    return {"mlflow.source.git.commit": head} if head else {}
