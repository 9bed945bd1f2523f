"""What model=... means: an MLflow run, a registered model or version, or a folder, each told by the model itself."""

from pathlib import Path
from tempfile import mkdtemp

from pipelines import scoring
from pipelines.cache import Given
from pipelines.data_stage import SPLITS
from pipelines.store import Store

EXPECTED = (
    "expected the id of an MLflow run of a method, models:/NAME@ALIAS or models:/NAME/VERSION, or the folder of a method "
    "(work_dir/cache/hhl/...) or of a downloaded MLflow model"
)
KNOWN = ("method", "source", "recipe", "data", "seed", "height", "width")  # what a model must tell of itself


def find(model: str, work_dir: Path, uri: str | None) -> Given:
    """The model's folder as a finished stage; its `about` has the height and width of its images, source, method and so on.

    Args:
        model: as on the command line. work_dir: absolute; whose stages and store are looked in. uri: tracking.uri.
    Raises:
        ValueError: no such model, or one that does not say what it takes.
    """
    path = Path(model).expanduser()
    if path.exists():
        return _in_folder(path.parent if path.is_file() and path.name == "model.pt" else path)
    if not model.startswith("models:/") and (len(model) != 32 or set(model) - set("0123456789abcdef")):
        raise ValueError(f"model={model} is none that can be found; {EXPECTED}")
    if uri is None and not (work_dir / "mlflow.db").exists():
        raise ValueError(
            f"model={model} is looked for in {work_dir / 'mlflow.db'}, which is not there; give work_dir= or a folder"
        )
    store = Store(work_dir, uri, "pipelines/evaluate.py")
    if model.startswith("models:/"):
        return _in_folder(_downloaded(store, _location(store.client, model), work_dir))
    return _of_run(store, model, work_dir)


def _location(client, model: str) -> str:
    """Where a registered version's files lie, or a logged model's."""
    from mlflow.exceptions import MlflowException

    name, _, alias = model.removeprefix("models:/").partition("@")
    try:
        if alias:
            return client.get_model_version_by_alias(name, alias).source
        if "/" in name:
            return client.get_model_version(*name.split("/", 1)).source
        return client.get_logged_model(name).artifact_location
    except MlflowException as error:
        raise ValueError(f"model={model}: {str(error).splitlines()[0]}; {EXPECTED}") from None


def _of_run(store, run_id: str, work_dir: Path) -> Given:
    from mlflow.exceptions import MlflowException

    from pipelines import models

    try:
        run = store.client.get_run(run_id)
    except MlflowException as error:
        raise ValueError(f"model={run_id}: {str(error).splitlines()[0]}") from None
    tags = run.data.tags
    folder = work_dir / "cache" / tags.get("stage", "") / tags.get("hash", "")
    if "method" in tags and (folder / "stage.json").exists():
        return _in_folder(folder)
    if uri := models.logged(store.client, run_id):
        model = store.client.get_logged_model(uri.removeprefix("models:/"))
        return _in_folder(_downloaded(store, model.artifact_location, work_dir))
    inside = store.client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'")
    found = [f"{one.data.tags['method']} {one.info.run_id}" for one in inside if "method" in one.data.tags]
    if found:
        raise ValueError(
            f"run {run_id} is of several stages; give one of its methods' runs: {', '.join(sorted(found))}"
        )
    raise ValueError(f"run {run_id} has logged no model, and {work_dir} has no folder of it; {EXPECTED}")


def _downloaded(store, location: str, work_dir: Path) -> Path:
    """The model's files: where they are, or fetched into the work_dir, which workers on other machines see."""
    import mlflow.artifacts

    if location.startswith(("file:", "/")):
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=location, tracking_uri=store.uri))
    (work_dir / "models").mkdir(parents=True, exist_ok=True)
    aside = mkdtemp(dir=work_dir / "models")
    return Path(mlflow.artifacts.download_artifacts(artifact_uri=location, dst_path=aside, tracking_uri=store.uri))


def _in_folder(folder: Path) -> Given:
    folder = folder.absolute()
    if (folder / "MLmodel").exists() and (folder / scoring.EXPORTED).exists():
        told = _metadata(folder)
    elif (folder / "stage.json").exists() and (folder / "model.pt").exists():
        told = scoring.described(folder)
    else:
        raise ValueError(
            f"{folder} holds no model: neither stage.json and model.pt nor MLmodel and {scoring.EXPORTED}; {EXPECTED}"
        )
    if missing := [key for key in KNOWN if key not in told["about"]]:
        raise ValueError(
            f"the model in {folder} does not tell its {', '.join(missing)}; expected one that these commands made"
        )
    return Given(told["name"], told["name"], {}, about=told["about"], known=told["hash"], place=str(folder))


def _metadata(folder: Path) -> dict:
    from mlflow.models import Model

    about = Model.load(folder / "MLmodel").metadata or {}
    found = about.get("colour"), about.get("resample")
    if found != ("RGB", SPLITS["query"]):
        raise ValueError(
            f"the model in {folder} takes images {' '.join(map(str, found))}; expected RGB {SPLITS['query']}"
        )
    return {"hash": about.get("hash", ""), "name": about.get("method", ""), "about": about}
