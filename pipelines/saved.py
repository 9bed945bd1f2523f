"""What model=... means: an MLflow run, a registered model or version, or a folder, each told by the model itself."""

import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path

from pipelines import database, models
from pipelines.cache import Given, held
from pipelines.data_stage import PREPROCESSING
from pipelines.store import client_of
from pipelines.training import trained_method

EXPECTED = (
    "expected the id of an MLflow run of a method, models:/NAME@ALIAS or models:/NAME/VERSION, or the folder of a method "
    "(work_dir/cache/hhl/...) or of a downloaded MLflow model, or its model.pt"
)
KNOWN = ("method", "source", "recipe", "data", "seed", "height", "width")  # what a model must tell of itself
DAMAGED = (
    RuntimeError,
    OSError,
    KeyError,
    TypeError,
    EOFError,
    pickle.UnpicklingError,
)  # what torch raises for a broken file


def with_model(model: str, settings: dict) -> tuple[Given, dict]:
    """The model (see `find`), and the settings with images of its size."""
    found = find(model, Path(settings["work_dir"]).absolute(), settings["tracking"]["uri"])
    return found, settings | {"images": {side: int(found.about[side]) for side in ("height", "width")}}


def find(model: str, work_dir: Path, uri: str | None) -> Given:
    """The model's folder as a finished stage, once it has been loaded; `about` has its images' height and width, and more.

    Its hash is of the stage that trained it and of its weights, so that a folder and the registry's copy share scores.

    Args:
        model: as on the command line. work_dir: absolute; whose stages and store are looked in. uri: tracking.uri.
    Raises:
        ValueError: no such model, a damaged one, or one that does not say what it takes.
    """
    path = Path(model).expanduser()
    if path.exists():
        return _in_folder(path.parent if path.name in ("model.pt", "stage.json", "MLmodel") else path)
    if not model.startswith("models:/") and (len(model) != 32 or set(model) - set("0123456789abcdef")):
        raise ValueError(f"model={model} is none that can be found; {EXPECTED}")
    own = f"sqlite:///{work_dir / 'mlflow.db'}"
    uri = uri or own
    if uri.startswith("sqlite:///") and not os.path.exists(uri.removeprefix("sqlite:///")):
        raise ValueError(
            f"model={model} is looked for in {uri.removeprefix('sqlite:///')}, which is not there; {EXPECTED}"
        )
    if uri == own:
        with held(work_dir / "mlflow.lock"):
            database.follow(work_dir / "mlflow.db")
    client = client_of(uri)
    if model.startswith("models:/"):
        return _in_folder(_local(_location(client, model), work_dir, uri))
    return _of_run(client, model, work_dir, uri)


def _location(client, model: str) -> str:
    """Where a registered version's files lie, or a logged model's."""
    from mlflow.exceptions import MlflowException

    name, _, alias = model.removeprefix("models:/").partition("@")
    try:
        if alias:
            name = client.get_model_version_by_alias(name, alias).source
        elif "/" in name:
            name = client.get_model_version(*name.split("/", 1)).source
        if "/" in name.removeprefix("models:/"):
            return name
        return client.get_logged_model(name.removeprefix("models:/")).artifact_location
    except MlflowException as error:
        raise ValueError(f"model={model}: {str(error).splitlines()[0]}; {EXPECTED}") from None


def _of_run(client, run_id: str, work_dir: Path, uri: str) -> Given:
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        raise ValueError(f"model={run_id}: {str(error).splitlines()[0]}") from None
    tags = run.data.tags
    kind = tags.get("stage", "")
    folder = work_dir / "cache" / kind / tags.get("hash", "")
    if kind == tags.get("method") and (folder / "stage.json").exists():
        return _in_folder(folder)
    if logged := models.logged(client, run_id):
        return _in_folder(_local(_location(client, logged), work_dir, uri))
    if kind in ("evaluation", "scores"):
        raise ValueError(f"run {run_id} is an evaluation; expected a model, such as the one that its tag `model` names")
    inside = client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'")
    told = [one.data.tags | {"run": one.info.run_id} for one in inside]
    if found := sorted(f"{one['method']} {one['run']}" for one in told if one.get("method") == one.get("stage")):
        raise ValueError(f"run {run_id} is of several stages; give one of its methods' runs: {', '.join(found)}")
    raise ValueError(f"run {run_id} has logged no model, and {work_dir} has no folder of it; {EXPECTED}")


def _local(location: str, work_dir: Path, uri: str) -> Path:
    """The model's files: where they are, or fetched once into the work_dir, which workers on other machines see."""
    import mlflow.artifacts

    if location.startswith(("file:", "/")):
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=location, tracking_uri=uri))
    folder = work_dir / "models" / hashlib.sha256(location.encode()).hexdigest()[:16]
    with held(f"{folder}.lock"):
        if not folder.exists():
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            found = mlflow.artifacts.download_artifacts(artifact_uri=location, dst_path=str(part), tracking_uri=uri)
            os.replace(found, folder)
            shutil.rmtree(part, ignore_errors=True)
    return folder


def _in_folder(folder: Path) -> Given:
    folder = folder.absolute()
    folder = folder / models.METHOD if (folder / "MLmodel").exists() else folder
    if not all((folder / name).exists() for name in ("stage.json", "model.pt")):
        raise ValueError(f"{folder} holds no model, stage.json and model.pt; {EXPECTED}")
    try:
        stage = json.loads((folder / "stage.json").read_text())
        about = {"trained_on": stage["inputs"].get("target", {}).get("hash")} | stage["about"]
        trained_method(folder)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{folder / 'stage.json'} cannot be read: {error}; expected the file as it was written"
        ) from None
    except DAMAGED as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"the model in {folder} cannot be loaded: {why}; expected one that these commands made"
        ) from None
    if missing := [key for key in KNOWN if key not in about]:
        raise ValueError(
            f"the model in {folder} does not tell its {', '.join(missing)}, as older ones do not; train it again, with "
            f"force=[{stage['name']}]"
        )
    found = about.get("preprocessing", PREPROCESSING)  # older models are of this code, and do not tell
    if found != PREPROCESSING:
        other = next(key for key in {**PREPROCESSING, **found} if found.get(key) != PREPROCESSING.get(key))
        raise ValueError(
            f"the model in {folder} takes images with {other} {found.get(other)}; expected {PREPROCESSING.get(other)}"
            ", as images are prepared here: evaluate it with the code that trained it"
        )
    weights = hashlib.sha256((folder / "model.pt").read_bytes()).hexdigest()
    known = hashlib.sha256(f"{stage['hash']} {weights}".encode()).hexdigest()[:16]
    return Given(stage["name"], stage["name"], {}, about=about, known=known, place=str(folder))
