"""Trained methods as MLflow models: logged, registered, and loaded where this code is not, with the same features."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tiny
import torch

from pipelines import cache, files, models, saved, training
from pipelines.cache import Stage
from reid_da.augment import normalise
from reid_da.backbones import resnet50

pytestmark = pytest.mark.slow

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
METHODS = ("baseline", "hhl", "arn")
USED = {
    "baseline": {"backbone", "neck"},
    "hhl": {"backbone", "neck"},
    "arn": {"encoder_shared_lower", "encoder_common", "neck"},
}
BACKBONE = {"_target_": "reid_da.backbones.narrow_resnet", "width": 4}
NAME = "reid-market-to-duke"


class Logged(NamedTuple):
    uri: str
    client: object
    run: str
    folders: dict[str, Path]
    models: dict[str, str]  # method -> models:/m-...


def finished(work_dir: Path, name: str, method, backbone: dict = BACKBONE) -> Path:
    """The folder of a finished stage with that method's weights."""
    target, sizes = tiny.METHODS[name]
    block = {"_target_": f"{target.__module__}.{target.__name__}", "steps": 4, "optimiser": {}} | sizes
    stage = Stage(name, name, {"method": block, "backbone": backbone, "seed": 0})
    cache.start(stage, work_dir)
    files.save_weights(stage.part(work_dir) / "model.pt", method)
    cache.finish(cache.job(stage, work_dir))
    return stage.folder(work_dir)


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, tiny.HEIGHT, tiny.WIDTH, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def methods(world) -> dict:
    """Methods whose running statistics have seen images, so that the modes of training and evaluation differ."""
    built = {name: tiny.build(name, world) for name in METHODS}
    with torch.no_grad():
        for method in built.values():
            for seed in range(1, 4):
                method.train().embed(normalise(torch.from_numpy(pixels(16 * seed))))
            method.eval()
    return built


@pytest.fixture(scope="module")
def logged(methods, tmp_path_factory) -> Logged:
    """All of them logged to one run of a store that is not the global one, from an empty folder and with no network."""
    from mlflow.tracking import MlflowClient

    def refuse(*args):
        raise AssertionError(f"a connection to {args[1]}")

    folder, here = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("here")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(uri)
    run = client.create_run(client.create_experiment("reid-da", (folder / "mlartifacts").as_uri())).info.run_id
    folders = {name: finished(folder, name, method) for name, method in methods.items()}
    about = {"height": tiny.HEIGHT, "width": tiny.WIDTH, "source": "market", "target": "duke"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setattr(socket.socket, "connect", refuse)
        uris = {name: models.log_model(uri, run, folders[name], about | {"method": name}, name) for name in METHODS}
        for name in METHODS:
            models.register(client, uris[name], f"{NAME}-{name}")
    assert not list(here.iterdir()), "something was looked up in the global store"
    return Logged(uri, client, run, folders, uris)


def test_a_stage_s_method_comes_back(methods, logged):
    for name, method in methods.items():
        back = training.trained_method(logged.folders[name])
        assert type(back) is type(method) and tiny.same(back.state_dict(), method.state_dict())


def test_initial_weights_are_not_read_again(world, tmp_path):
    """They are overwritten, may lie elsewhere by now, and "imagenet" would be downloaded."""
    method = tiny.METHODS["baseline"][0](resnet50(weights=None), num_persons=3, embedding=16)
    backbone = {"_target_": "reid_da.backbones.resnet50", "weights": "/gone.pth", "weights_file": [1, 2]}
    back = training.trained_method(finished(tmp_path, "baseline", method, backbone))
    assert tiny.same(back.state_dict(), method.state_dict())


def test_what_has_learned_nothing_is_no_model(tmp_path):
    folder = tmp_path / "histogram"
    folder.mkdir()
    files.save_weights(folder / "model.pt", torch.nn.Identity())
    cache.write_json(folder / "stage.json", {"name": "histogram"})
    with pytest.raises(ValueError, match="histogram's, which learns nothing; expected a trained method"):
        training.trained_method(folder)


@pytest.mark.parametrize("name", METHODS)
def test_the_embedder_keeps_what_embed_uses(name, methods):
    method = methods[name]
    before = {child for child, _ in method.named_children()}
    embedder = models.Embedder(method.train(), tiny.HEIGHT, tiny.WIDTH)
    assert {child for child, _ in embedder.method.named_children()} == USED[name] < before
    assert {child for child, _ in method.named_children()} == before and method.training
    images = torch.from_numpy(pixels(5))
    features = embedder(images)
    torch.testing.assert_close(features, method.eval().embed(normalise(images)), atol=1e-6, rtol=0)
    assert features.shape == (5, embedder.num_features) and not features.requires_grad


# URI METHOD...: for a process that has nothing of this code; images come from and features go to .npy files in its folder.
LOAD = """
import sys
import mlflow, numpy, torch
mlflow.set_tracking_uri(sys.argv[1])
for name in sys.argv[2:]:
    uri = f"models:/reid-market-to-duke-{name}@champion"
    whole, module = mlflow.pyfunc.load_model(uri, model_config={"device": "cpu"}), mlflow.pytorch.load_model(uri)
    for count in (1, 7):
        images = numpy.load(f"{count}.npy")
        numpy.save(f"{name}_{count}_pyfunc.npy", whole.predict(images))
        numpy.save(f"{name}_{count}_pytorch.npy", module(torch.from_numpy(images)).numpy())
    assert module.to("meta")(torch.empty_like(torch.from_numpy(images), device="meta")).device.type == "meta"
    print(mlflow.models.get_model_info(uri).metadata)
assert not {"reid_da", "pipelines", "gan", "torchvision"} & set(sys.modules)
"""


@pytest.mark.slow
def test_loaded_elsewhere_it_gives_the_same_features(methods, logged, tmp_path):
    for count in (1, 7):
        np.save(tmp_path / f"{count}.npy", pixels(count))
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-c", LOAD, logged.uri, *METHODS]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for name, method in methods.items():
        for count in (1, 7):
            with torch.inference_mode():
                wanted = method.eval().embed(normalise(torch.from_numpy(pixels(count)))).numpy()
            for loader in ("pyfunc", "pytorch"):
                found = np.load(tmp_path / f"{name}_{count}_{loader}.npy")
                assert found.dtype == np.float32
                np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=0, err_msg=f"{name} {count} {loader}")


def test_the_model_says_what_it_takes(logged):
    from mlflow.models import Model

    model = logged.client.get_logged_model(logged.models["arn"].removeprefix("models:/"))
    saved = Model.load(model.artifact_location.removeprefix("file://"))
    stage = json.loads((logged.folders["arn"] / "stage.json").read_text())["hash"]
    assert saved.metadata == {
        **{"height": tiny.HEIGHT, "width": tiny.WIDTH, "colour": "RGB", "resample": "bicubic"},
        **{"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "num_features": 32},
        **{"source": "market", "target": "duke", "method": "arn", "hash": stage},
    }
    assert [spec.shape for spec in saved.signature.inputs] == [(-1, tiny.HEIGHT, tiny.WIDTH, 3)]
    assert [spec.type for spec in saved.signature.inputs] == [np.dtype("uint8")]
    assert [spec.shape for spec in saved.signature.outputs] == [(-1, 32)]
    assert (saved.model_id, saved.run_id) == (model.model_id, logged.run)


def test_the_run_shows_its_models(logged):
    outputs = logged.client.get_run(logged.run).outputs.model_outputs
    assert {f"models:/{output.model_id}" for output in outputs} == set(logged.models.values())
    for uri in logged.models.values():
        assert logged.client.get_logged_model(uri.removeprefix("models:/")).status == "READY"


def test_a_logged_model_has_one_version_and_a_stage_made_again_a_new_one(logged):
    client, baseline, hhl = logged.client, logged.models["baseline"], logged.models["hhl"]
    first, second = (models.register(client, uri, "one") for uri in (baseline, hhl))
    assert int(second) == int(first) + 1
    assert str(client.get_model_version_by_alias("one", "champion").version) == second
    assert models.register(client, baseline, "one") == first
    assert str(client.get_model_version_by_alias("one", "champion").version) == first
    about = {"height": tiny.HEIGHT, "width": tiny.WIDTH}
    again = models.log_model(logged.uri, logged.run, logged.folders["baseline"], about, "baseline")
    third = models.register(client, again, "one")
    assert again != baseline and int(third) == int(second) + 1
    place = client.get_logged_model(again.removeprefix("models:/")).artifact_location
    assert client.get_model_version_by_alias("one", "champion").source == place
    assert len(client.search_model_versions("name = 'one'")) == 3


def test_a_version_knows_its_run_and_the_model_its_versions(logged):
    version = logged.client.get_model_version_by_alias(f"{NAME}-arn", "champion")
    assert version.run_id == logged.run
    model = logged.client.get_logged_model(logged.models["arn"].removeprefix("models:/"))
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": version.name, "version": version.version}]


def test_a_model_below_the_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    with pytest.raises(ValueError, match=f"{tmp_path}/model holds no model, stage.json and model.pt"):
        saved.find("~/model", tmp_path / "work", None)


def test_files_of_a_server_are_fetched_once_and_whole(tmp_path, monkeypatch):
    import mlflow.artifacts

    asked = []

    def download(artifact_uri, dst_path, tracking_uri):
        asked.append((artifact_uri, tracking_uri))
        (Path(dst_path) / "model").mkdir()
        (Path(dst_path) / "model" / "MLmodel").write_text("whole")
        return f"{dst_path}/model"

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", download)
    place = ("mlflow-artifacts:/1/models/m-1/artifacts", tmp_path, "http://host:5000")
    first = saved._local(*place)
    assert first.parent == tmp_path / "models" and (first / "MLmodel").read_text() == "whole"
    assert not list(first.parent.glob("*.part"))
    assert saved._local(*place) == first and asked == [(place[0], place[2])], "not once more"
