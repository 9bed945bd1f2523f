"""The stage graph in one process: what is made, what is reused, what is resumed, without Ray, MLflow or Hydra."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from started import TINY
from torch import nn

from pipelines import cluster, graph, options, stages, styling, training
from reid_da.images import ImageStore

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
INLINE = [*TINY, "cluster=inline"]


class Memory:
    """A track that remembers."""

    def __init__(self):
        self.made, self.reused, self.said = [], [], []

    def say(self, line):
        self.said.append(line)

    def begin(self, plan):
        pass

    def end(self, stage, reused):
        (self.reused if reused else self.made).append(stage.label)


def run(work_dir: Path, *overrides: str) -> tuple[dict, Memory]:
    settings = options.compose([*INLINE, f"work_dir={work_dir}", *overrides])
    track = Memory()
    with cluster.connect(settings) as launch:
        return stages.run(settings, launch, track), track


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    work_dir = tmp_path_factory.mktemp("work")
    return work_dir, *run(work_dir)


ALL = ["data market", "data duke", "generator", "pretrain", "baseline", "arn", "styles", "measures", "hhl"]


def test_everything_is_made_once(finished):
    _, results, track = finished
    assert sorted(track.made) == sorted(ALL) and track.reused == []
    assert set(results) == {"baseline", "hhl", "arn"}
    for result in results.values():
        assert 0 < result["target"]["mAP_trapezoid"] <= result["target"]["mAP"] <= 1
        assert result["target"]["num_valid_queries"] > 0 and result["source"]["mAP"] > 0


def test_a_second_run_makes_nothing(finished):
    work_dir, results, _ = finished
    again, track = run(work_dir)
    assert again == results and track.made == [] and sorted(track.reused) == sorted(ALL)


def test_an_option_makes_again_only_what_it_touches(finished):
    work_dir, _, _ = finished
    assert run(work_dir, "beta=0.2", "methods=[hhl]")[1].made == ["hhl"]
    assert run(work_dir, "seed=1", "methods=[baseline]")[1].made == ["pretrain", "baseline"]
    assert run(work_dir, "n_t=0", "methods=[hhl]")[1].reused == ["data market", "data duke", "pretrain"]


def test_the_baselines_features_cluster_the_target_s_images(finished):
    work_dir, _, _ = finished
    _, track = run(work_dir, "hhl.sampling=clustered", "methods=[hhl]")
    assert track.made == ["hhl"] and "baseline" in track.reused
    made = [json.loads(path.read_text()) for path in (work_dir / "cache" / "hhl").glob("*/stage.json")]
    (stage,) = [one for one in made if one["settings"]["method"].get("sampling") == "clustered"]
    clusters = np.load(work_dir / "cache" / "hhl" / stage["hash"] / "clusters.npy")
    data = ImageStore(work_dir / "cache" / "data" / stage["inputs"]["target"]["hash"] / "train")
    assert clusters.shape == (len(data),) and set(clusters) == set(range(stage["settings"]["method"]["n_t"]))


@pytest.mark.parametrize("option", ["data.cache=device", "channels_last=false"])
def test_what_changes_rounding_alone_is_no_other_stage_and_gives_the_same_figures(finished, option):
    """Pictures kept on the device: to the bit. Another layout: to rounding, which few steps do not make much of."""
    work_dir, results, _ = finished
    again, track = run(work_dir, option, "methods=[hhl]", "force=[hhl]")
    assert track.made == ["hhl"]
    tolerance = 0 if option.startswith("data") else 0.02
    assert again["hhl"]["target"]["mAP"] == pytest.approx(results["hhl"]["target"]["mAP"], abs=tolerance)


USUAL = {"resident": {False}, "channels_last": {True}, "weights": {True}, "erasing": {0.0}, "precision": {"float32"}}


@pytest.mark.parametrize(
    ("option", "changed"),
    [
        ("channels_last=false", {"channels_last": {False}, "weights": {False}}),
        ("data.cache=device", {"resident": {True}}),
        ("precision=bf16", {"precision": {"bf16"}}),
        ("hhl.random_erasing=0.5", {"erasing": {0.5}}),
        ("compile=true", {}),
    ],
)
def test_an_option_of_speed_or_augmentation_reaches_the_training_alone(finished, monkeypatch, option, changed):
    """What batches, crop, learner and networks are given, the generator's batches too: few steps' figures would not tell."""
    arrived, compiled, methods = {name: set() for name in USUAL}, [], []

    def spied(name):
        real = getattr(training, name)

        def spy(*arguments, **given):
            for key in arrived.keys() & given.keys():
                arrived[key].add(given[key])
            if name == "Learner":
                methods.append(arguments[0])
                given["precision"] = "float32"  # bfloat16 takes some CPUs ten times as long
            return real(*arguments, **given)

        return spy

    for name in ("method_batches", "translation_batches", "random_area_crop", "Learner"):
        monkeypatch.setattr(training, name, spied(name))
    monkeypatch.setattr(nn.Module, "compile", lambda part: compiled.append(part))
    monkeypatch.setenv("CXX", sys.executable)  # is looked for, but compiles nothing
    run(finished[0], option, "methods=[hhl]", "force=[generator,hhl]")
    kernels = [p for p in methods[-1].parameters() if p.dim() == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    arrived["weights"] = {p.is_contiguous(memory_format=torch.channels_last) for p in kernels}
    assert arrived == USUAL | changed
    assert compiled == (list(methods[-1].children()) if option == "compile=true" else [])


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile on a CPU takes a C++ compiler")
def test_a_compiled_training_is_the_same_to_rounding(finished):
    work_dir, results, _ = finished
    again, track = run(work_dir, "compile=true", "methods=[baseline]", "force=[baseline]")
    assert track.made == ["baseline"]
    assert again["baseline"]["target"]["mAP"] == pytest.approx(results["baseline"]["target"]["mAP"], abs=0.02)


def test_force_makes_a_kind_of_stage_again_and_what_is_made_from_it_with_the_same_digits(finished):
    work_dir, results, _ = finished
    again, track = run(work_dir, "force=[styles]")
    assert track.made == ["styles", "measures", "hhl"]
    assert again["hhl"]["target"] == results["hhl"]["target"]


def test_styles_are_every_training_image_under_every_camera(finished):
    work_dir, _, _ = finished
    data = next(
        f for f in (work_dir / "cache" / "data").glob("*/stage.json") if "duke" in json.loads(f.read_text())["label"]
    )
    images = np.load(data.parent / "train" / "images.npy", mmap_mode="r")
    folder = next((work_dir / "cache" / "styles").glob("*/styled.npy")).parent
    styled = np.load(folder / "styled.npy", mmap_mode="r")
    assert styled.shape == (len(images), 8, *images.shape[1:]) and styled.dtype == np.uint8
    assert not (folder / "shards").exists()


def test_a_stopped_run_goes_on_to_the_same_digits(finished, tmp_path, monkeypatch):
    """Stopped in the middle of hhl's training, after its checkpoint; the rest of the digits are those of the straight run."""
    _, results, _ = finished
    monkeypatch.setattr(training, "_rhythm", lambda steps: {"report_every": 1, "checkpoint_every": 1})
    seen = []

    class Stopped(Exception):
        pass

    real = training.reporter

    def stopping(job, also=None):
        report = real(job, also)

        def stop(done, total, floats=None, phase=""):
            report(done, total, floats, phase)
            if job["name"] == "hhl" and done == 2 and not seen:
                seen.append(done)
                raise Stopped

        return stop

    monkeypatch.setattr(training, "reporter", stopping)
    with pytest.raises(Stopped):
        run(tmp_path)
    part = next((tmp_path / "cache" / "hhl").glob("*.part"))
    again, track = run(tmp_path)
    assert track.made == ["hhl", "arn"] and not part.exists()
    assert again["hhl"]["target"] == results["hhl"]["target"]
    lines = [json.loads(line) for line in (part.with_suffix("") / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4], "no step is there twice"


def test_the_controls(finished, tmp_path):
    """Each row of the table of controls: what it shares with the ordinary run, and what it trains on."""
    work_dir, results, _ = finished
    _, track = run(work_dir, "methods=[hhl]", "hhl.styles=copies")
    assert track.made == ["hhl"]
    for kind in ("jitter", "redrawn"):
        _, track = run(work_dir, "methods=[hhl]", f"hhl.styles={kind}")
        assert track.made == [f"styles {kind}", "hhl"]
    found, track = run(work_dir, "methods=[baseline]", "baseline.bn=target")
    assert track.made == ["baseline"] and "pretrain" in track.reused and track.reused.count("baseline") == 1
    assert found["baseline"]["target"] != results["baseline"]["target"]
    found, track = run(work_dir, "methods=[arn]", "arn.bn=target")
    assert track.made == ["arn"] and found["arn"]["target"] != results["arn"]["target"]
    found, track = run(work_dir, "methods=[chance,histogram]")
    assert track.made == ["chance", "histogram"] and 0 < found["chance"]["target"]["mAP"] < 0.5
    _, track = run(work_dir, "methods=[baseline]", "baseline.labels=target")
    assert track.made == ["pretrain", "baseline"]
    _, track = run(work_dir, "methods=[baseline]", "source=duke", "target=market")
    assert track.made == ["baseline"], "a pretrain on the duke serves both"


def test_true_styles_are_the_same_picture_under_the_other_camera(finished):
    work_dir, _, _ = finished
    run(work_dir, "methods=[hhl]", "hhl.styles=redrawn")
    settings = options.compose([*INLINE, f"work_dir={work_dir}", "methods=[hhl]", "hhl.styles=redrawn"])
    stage = next(stage for stage in graph.plan(settings) if stage.name == "styles")
    store = ImageStore(stage.inputs["target"].folder(work_dir) / "train")
    styled = np.load(stage.folder(work_dir) / "styled.npy", mmap_mode="r")
    own = styled[np.arange(len(store)), store.camera_labels].astype(int)
    others = styled[np.arange(len(store)), (store.camera_labels + 1) % store.num_cameras].astype(int)
    error, change = (np.abs(images - store.images).mean() for images in (own, others))
    assert error < 3 < change, "its own camera's is the file up to JPEG"


def test_true_styles_of_data_on_disk_are_refused(tmp_path, world):
    settings = options.compose([*INLINE, "hhl.styles=redrawn", f"target.root={world.folder / 'duke'}"])
    with pytest.raises(ValueError, match="redrawn.*duke is read from disk; expected generator"):
        graph.plan(settings)


def test_shards_that_are_there_are_not_made_again(finished, tmp_path, monkeypatch):
    """Stopped after its first shards, one of which then changes on the disk: that one alone is made again, and it is said."""
    work_dir, _, _ = finished
    monkeypatch.setattr(styling, "SHARD", 100)
    made = []
    real = styling._translated

    def counted(job, store):
        made.append(job["rows"][0])
        if len(made) == 3:
            raise KeyboardInterrupt
        return real(job, store)

    monkeypatch.setattr(styling, "_translated", counted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "methods=[hhl]")
    part = next((tmp_path / "cache" / "styles").glob("*.part"))
    styled = np.load(part / "styled.npy", mmap_mode="r+")
    styled[100, 0, 0, 0, 0] ^= 1
    del styled
    _, track = run(tmp_path, "methods=[hhl]")
    assert made[:3] == [0, 100, 200] and made[3:] == list(range(100, made[-1] + 1, 100))
    assert [line for line in track.said if "1 of 3 shards" in line and "made again" in line], track.said
    whole = [folder / "cache" / "styles" / part.stem / "styled.npy" for folder in (work_dir, tmp_path)]
    assert whole[0].read_bytes() == whole[1].read_bytes(), "whatever the shards' size"


@pytest.mark.parametrize("together", [False, True])
def test_bad_data_leaves_no_part(together, tmp_path, world, monkeypatch):
    monkeypatch.setattr(cluster.Inline, "together", together)  # then both data sets are begun before the first fails
    drawn = tmp_path / "data"
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        (drawn / folder).mkdir(parents=True)
        for path in (world.folder / "market" / folder).iterdir():
            (drawn / folder / path.name).write_bytes(path.read_bytes())
    victim = sorted((drawn / "query").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:300])
    overrides = ["source=market", "target=duke", f"source.root={drawn}", "methods=[baseline]"]
    with pytest.raises(ValueError, match=f"{victim.name}.*data.skip_unreadable=true"):
        run(tmp_path / "work", *overrides)
    assert not list((tmp_path / "work" / "cache" / "data").glob("*.part"))
    run(tmp_path / "work", *overrides, "data.skip_unreadable=true")
    results = [json.loads(p.read_text()) for p in (tmp_path / "work" / "cache" / "data").glob("*/result.json")]
    assert [str(victim)] in [result["splits"]["query"]["skipped"] for result in results]


def test_data_on_disk_that_changed_is_read_again(tmp_path, world):
    settings = options.compose(
        [*INLINE, f"target.root={world.folder / 'duke'}", "source=market", f"work_dir={tmp_path}"]
    )
    before = graph.plan(settings)[1].hash
    touched = sorted((world.folder / "duke" / "query").iterdir())[0]
    content = touched.read_bytes()
    touched.write_bytes(content + b"\0")
    try:
        assert graph.plan(settings)[1].hash != before
    finally:
        touched.write_bytes(content)


def test_workers_threads_and_work_dir_change_no_hash(tmp_path):
    plans = [
        graph.plan(options.compose([*INLINE, *more]))
        for more in (
            [],
            ["work_dir=elsewhere"],
            ["cluster=local", "cluster.cpus_per_worker=2", "cluster.num_workers=2"],
        )
    ]
    assert len({tuple(stage.hash for stage in plan) for plan in plans}) == 1


def test_it_needs_neither_ray_nor_mlflow_nor_hydra(finished, tmp_path):
    """In a process where they cannot be imported, from settings as plain JSON."""
    settings = options.compose([*INLINE, f"work_dir={tmp_path}", "methods=[baseline]"])
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    code = f"""
import sys
for name in ("ray", "mlflow", "hydra", "omegaconf", "tqdm", "matplotlib", "faiss"):
    sys.modules[name] = None
import json
from pipelines import cluster, stages
settings = json.load(open({str(tmp_path / "settings.json")!r}))
print(stages.run(settings, cluster.Inline(settings["cluster"]))["baseline"]["target"]["mAP"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1]) == finished[1]["baseline"]["target"]["mAP"]
