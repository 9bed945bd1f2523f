"""A trained method as an MLflow model: pixels in, features out, with its own preprocessing, and loadable without this code.

    mlflow.set_tracking_uri("sqlite:////path/to/outputs/mlflow.db")
    mlflow.pyfunc.load_model("models:/reid-market-to-duke@champion").predict(images)  # numpy uint8 -> numpy float32
    mlflow.pytorch.load_model("models:/reid-market-to-duke@champion")(images)         # the same of tensors

images: (B, H, W, 3) uint8 RGB, resized by Pillow to the size and with the filter that mlflow.models.get_model_info(uri).metadata
tells. Features: (B, D), L2-normalised, to be compared by Euclidean distance. The model lies on the CPU: .to("cuda") moves
mlflow.pytorch's; on a machine with a GPU, pyfunc wants load_model(uri, model_config={"device": "cpu"}).

Everything here goes through a client: MLflow's global tracking URI, active run and active model are neither asked nor changed.
"""

import copy
import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn

from pipelines.data_stage import PREPROCESSING
from pipelines.training import trained_method
from reid_da.augment import IMAGENET_MEAN, IMAGENET_STD

METHOD = "method"  # folder within a logged model's: the stage's stage.json and model.pt


class Embedder(nn.Module):
    """A method's `embed` from raw pixels: a copy on the CPU, in evaluation mode, without the parts that `embed` does not use.

    The arithmetic is augment.normalise's, on buffers, uint8 against float32. normalise itself makes constants on a device and
    casts, and torch.export writes down on which; this way the exported model runs wherever its weights are moved.

    Args:
        method: a module with `embed`. height, width: of the images, in pixels.
    """

    def __init__(self, method: nn.Module, height: int, width: int):
        super().__init__()
        # torch.export saves channels_last weights too, but warns
        self.method = copy.deepcopy(method).cpu().to(memory_format=torch.contiguous_format)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1) * 255)
        self.eval().requires_grad_(False)
        self.num_features = self._prune(example(height, width))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, H, W, 3) uint8 RGB -> (B, num_features) float32, L2-normalised."""
        return self.method.embed((images.permute(0, 3, 1, 2) - self.mean) / self.std)

    def _prune(self, images: torch.Tensor) -> int:
        """Take out the method's parts that these images do not pass through; the width of their features."""
        used: set[nn.Module] = set()
        hooks = [part.register_forward_hook(lambda part, *_: used.add(part)) for part in self.method.children()]
        num_features = self(images).shape[1]
        for hook in hooks:
            hook.remove()
        for name in [name for name, part in self.method.named_children() if part not in used]:
            delattr(self.method, name)
        return num_features


def example(height: int, width: int) -> torch.Tensor:
    """(2, H, W, 3) uint8, black. Two, since torch.export would fix a batch of 1; black, since it is stored with the model."""
    return torch.zeros(2, height, width, 3, dtype=torch.uint8)


def log_model(client_uri: str, run_id: str, stage_folder: Path, about: dict, name: str) -> str:
    """Log a finished stage's method as a model of the run, which shows it once it is whole.

    Args:
        client_uri: the tracking store. stage_folder: a trained method's (stage.json, model.pt). name: of the model.
        about: plain values for the metadata: height and width of the images in pixels, source, target, method, and more if wanted.
    Returns:
        The model's URI, "models:/m-...".
    Raises:
        ValueError: the stage has learned nothing (training.trained_method).
    """
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model
    from mlflow.tracking import MlflowClient

    client, stage = MlflowClient(client_uri), json.loads((stage_folder / "stage.json").read_text())
    embedder = Embedder(trained_method(stage_folder), about["height"], about["width"])
    metadata = {k: v for k, v in about.items() if k != "preprocessing"} | PREPROCESSING
    metadata |= {"num_features": embedder.num_features, "hash": stage["hash"]}
    saved = Model(run_id=run_id, metadata=metadata)
    with TemporaryDirectory() as folder:
        _save(embedder, f"{folder}/model", saved, example(about["height"], about["width"]).numpy())
        told = stage["about"] | about | {"preprocessing": PREPROCESSING}
        _keep_weights(stage_folder, stage | {"about": told}, Path(folder) / "model" / METHOD)
        experiment = client.get_run(run_id).info.experiment_id
        model = client.create_logged_model(experiment, name, run_id, tags={"hash": stage["hash"]})
        saved.model_id, saved.model_uuid, saved.artifact_path = model.model_id, model.model_id, model.artifact_location
        saved.save(f"{folder}/model/MLmodel")  # again, with what is known now
        client.log_model_artifacts(model.model_id, f"{folder}/model")
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return model.model_uri


def _keep_weights(stage_folder: Path, stage: dict, folder: Path) -> None:
    """The method itself, for evaluate.py: loading an exported program unpickles, and weights are to be data, never code."""
    folder.mkdir()
    shutil.copy(stage_folder / "model.pt", folder)
    (folder / "stage.json").write_text(json.dumps(stage, indent=1))


def _save(embedder: Embedder, folder: str, saved, images: np.ndarray) -> None:
    """Write the model's folder and enter into `saved`, an mlflow.models.Model, what is in it. images: as `example`."""
    import mlflow.pytorch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    inputs = TensorSpec(images.dtype, (-1, *images.shape[1:]))
    outputs = TensorSpec(np.dtype("float32"), (-1, embedder.num_features))
    mlflow.pytorch.save_model(
        embedder,
        folder,
        mlflow_model=saved,
        signature=ModelSignature(Schema([inputs]), Schema([outputs])),
        input_example=images,
        pip_requirements=[f"torch=={torch.__version__.split('+')[0]}"],  # said, so not searched for; MLflow adds itself
        serialization_format="pt2",
    )


def register(client, model_uri: str, name: str, alias: str = "champion", description: str = "") -> str:
    """Make a logged model a version of the registered model, unless it is one, and give it the alias.

    Args:
        client: an MlflowClient. model_uri: from log_model. name: of the registered model, made where it is missing.
        description: of a new version.
    Returns:
        The version that has the alias now: "1" (of MLflow's stores one has numbers, one strings).
    """
    model = client.get_logged_model(model_uri.removeprefix("models:/"))
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    versions = client.search_model_versions(f"name = '{name}' AND tags.hash = '{model.tags['hash']}'")
    there = [one for one in versions if one.source == model.artifact_location]  # others: before it was made again
    version = str(there[0].version if there else _new_version(client, model, name, description))
    client.set_registered_model_alias(name, alias, version)
    return version


def keep(store, stage, alias: str) -> str:
    """Log a finished stage's model in its run, unless it is there, and register it as reid-<source>-to-<target> under the alias.

    Args:
        store: pipelines.store.Store. stage: a trained method's.
    Returns:
        where it is, in words: "models:/<name>@<alias> (version 1)".
    """
    name, run = "reid-{source}-to-{target}".format(**stage.about), store.run(stage.hash, stage.label, {}, {})
    folder = stage.folder(store.work_dir)
    uri = logged(store.client, run) or log_model(store.uri, run, folder, stage.about, name)
    version = register(store.client, uri, name, alias, _told(stage.about, folder))
    return f"models:/{name}@{alias} (version {version})"


def _told(about: dict, folder: Path) -> str:
    """What a finished method's stage is and scores, in words."""
    words = "{method} ({variant}), {data} data, recipe {recipe}, seed {seed}".format(**about)
    scores = json.loads((folder / "result.json").read_text())["target"]
    return words if scores is None else f"{words}: mAP {100 * scores['mAP']:.1f}, rank-1 {100 * scores['rank1']:.1f}"


def logged(client, run_id: str) -> str | None:
    """The URI of the model that the run has logged whole, if any."""
    for output in client.get_run(run_id).outputs.model_outputs:
        if client.get_logged_model(output.model_id).status == "READY":
            return f"models:/{output.model_id}"
    return None


def _new_version(client, model, name: str, description: str) -> str:
    """Source is the place of the files: with models:/ MLflow's SQL store would look it up at the global tracking URI."""
    from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

    tags, source = {"hash": model.tags["hash"]}, model.artifact_location
    more = {"description": description, "model_id": model.model_id}
    version = client.create_model_version(name, source, model.source_run_id, tags, **more).version
    links = [*json.loads(model.tags.get(MLFLOW_MODEL_VERSIONS, "[]")), {"name": name, "version": version}]
    client.set_logged_model_tags(model.model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(links)})  # as mlflow.register_model
    return version
