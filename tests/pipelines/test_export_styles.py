"""Styles as files and back: what is exported is what HHL's and ECN's code reads, and what gan=folder reads."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import forked
import numpy as np
import pytest
from PIL import Image
from started import TINY, with_cached

from pipelines import cluster, command, export_styles, graph, options, ready_styles, results, stages, sweeps
from reid_da.datasets import synthetic
from reid_da.images import ImageStore

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
OWN = [option for option in TINY if not option.startswith("source=")]
INLINE = [*TINY, "cluster=inline"]
FOLDER = [*(option for option in INLINE if not option.startswith("gan.")), "methods=[hhl]", "gan=folder"]


def export(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["export_styles.py", *OWN, "cluster=inline", *arguments])
    command.many_main(export_styles.story, "export_styles", {}, cluster="local")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """work_dir, the folder and the styles stage of a command that made everything."""
    work_dir = tmp_path_factory.mktemp("export") / "work"
    with pytest.MonkeyPatch.context() as patch:
        export(patch, f"to={work_dir.parent / 'files'}", f"work_dir={work_dir}")
    settings = options.compose([*INLINE, f"work_dir={work_dir}"])
    stage = next(stage for stage in graph.plan(settings) if stage.name == "styles")
    return work_dir, work_dir.parent / "files", stage


def opened(stage, work_dir) -> tuple[ImageStore, np.ndarray]:
    store = ImageStore(stage.inputs["target"].folder(work_dir) / "train")
    return store, np.load(stage.folder(work_dir) / "styled.npy", mmap_mode="r")


def test_one_file_for_every_image_and_camera(exported):
    work_dir, to, stage = exported
    assert stage.finished(work_dir), "without a source it is the stage that run.py uses"
    store, styled = opened(stage, work_dir)
    names = {f"{Path(path).stem}_fake_{k}.jpg" for path in store.paths for k in range(1, 9)}
    assert {path.name for path in to.iterdir()} == names | {"styles.json"}
    assert json.loads((to / "styles.json").read_text())["styles"] == stage.hash
    with Image.open(to / f"{Path(store.paths[3]).stem}_fake_5.jpg") as image:
        assert np.abs(np.asarray(image).astype(int) - styled[3, 4]).mean() < 10


@pytest.mark.slow
def test_actors_of_ray_write_the_same_files(exported, tmp_path):
    """Two of them, each shard by one, from the same generator; the real command."""
    before, to, stage = exported
    work_dir, files = with_cached(tmp_path / "work", before, "data", "generator"), tmp_path / "files"
    line = [*OWN, "cluster=local", "cluster.num_workers=2", f"work_dir={work_dir}", f"to={files}"]
    done = forked.run("export_styles", *line)
    assert done.returncode == 0, done.stderr
    assert f"styles in {files}" in done.stdout and stage.finished(work_dir)
    assert {path.name: path.read_bytes() for path in to.iterdir()} == {
        path.name: path.read_bytes() for path in files.iterdir()
    }


def test_it_goes_on_and_refuses_another_hash_or_quality(exported, monkeypatch, capsys):
    work_dir, to, _ = exported
    victim = sorted(to.glob("*.jpg"))[7]
    content = victim.read_bytes()
    victim.unlink()
    export(monkeypatch, f"to={to}", f"work_dir={work_dir}")
    assert victim.read_bytes() == content and "1 of them written now" in capsys.readouterr().out
    for more, expected in ((["gan.steps=5"], "holds the styles"), (["quality=90"], "in quality 75")):
        with pytest.raises(SystemExit) as stop:
            export(monkeypatch, f"to={to}", f"work_dir={work_dir}", *more)
        error = capsys.readouterr().err
        assert stop.value.code == 2 and error.count("\n") == 1 and expected in error
    assert len(list((work_dir / "cache" / "generator").glob("*/generator.pt"))) == 1, "refused before it was made"


BAD = {
    "no folder": ([], "where to?"),
    "no quality": (["to=x", "quality=0"], "quality is 0"),
    "a file": (["to={file}"], "is a file"),
    "a folder of other files": (["to={folder}"], "file first"),
    "copies": (["to=x", "hhl.styles=copies"], "hhl.styles is copies"),
    "no steps": (["to=x", "gan.steps=0"], "gan.steps is 0"),
    "no batch": (["to=x", "gan.batch=0"], "gan.batch is 0"),
    "a batch of more than there is": (["to=x", "gan.batch=99999"], "the training images of duke"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, tmp_path, monkeypatch, capsys):
    arguments, expected = BAD[case]
    (tmp_path / "file").write_text("")
    places = {"file": tmp_path / "file", "folder": tmp_path}
    with pytest.raises(SystemExit) as stop:
        export(monkeypatch, f"work_dir={tmp_path / 'work'}", *(one.format(**places) for one in arguments))
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.startswith("error: ") and error.count("\n") == 1 and expected in error
    assert not (tmp_path / "work").exists()


KILLED = """
import os, sys
left = 20
def hear(event, arguments):
    global left
    if event == "os.rename" and str(arguments[1]).endswith(".jpg"):
        left -= 1
        if not left:
            os.kill(os.getpid(), 9)
sys.addaudithook(hear)
from pipelines import command, export_styles
command.many_main(export_styles.story, "export_styles", {}, cluster="local")
"""


def test_a_killed_export_goes_on(exported, tmp_path, monkeypatch):
    work_dir, to, _ = exported
    line = [*OWN, "cluster=inline", f"work_dir={work_dir}", f"to={tmp_path / 'files'}"]
    done = subprocess.run([sys.executable, "-c", KILLED, *line], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    there = {path.name for path in (tmp_path / "files").iterdir()}
    assert "styles.json" in there and any(name.endswith(".jpg.tmp") for name in there) and len(there) < 30
    export(monkeypatch, f"to={tmp_path / 'files'}", f"work_dir={work_dir}")
    for path in to.iterdir():
        assert (tmp_path / "files" / path.name).read_bytes() == path.read_bytes()
    assert len(list((tmp_path / "files").iterdir())) == len(list(to.iterdir()))


def folder_run(work_dir: Path, root: Path, *more: str):
    settings = options.compose([*FOLDER, f"work_dir={work_dir}", f"gan.root={root}", *more])
    plan = graph.plan(settings)
    with cluster.connect(settings) as launch:
        return plan, stages.run(settings, launch, stages.Silent())


def test_hhl_trains_from_the_files_of_an_export(exported):
    """On the same data and pretrain; the styles come back up to JPEG."""
    work_dir, to, stage = exported
    plan, results = folder_run(work_dir, to)
    assert 0 < results["hhl"]["target"]["mAP"] < 1 and "generator" not in {one.name for one in plan}
    back = next(one for one in plan if one.name == "styles")
    assert back.label == "styles folder" and back.settings["root"] == str(to)
    _, original = opened(stage, work_dir)
    store, styled = opened(back, work_dir)
    error = np.abs(styled.astype(int) - original)
    assert styled.shape == original.shape and 0 < error.mean() < 8
    changed = np.abs(np.roll(styled, 1, axis=1).astype(int) - original).mean()
    assert changed > error.mean(), "every camera's in its place"


def test_pairs_take_the_own_camera_from_the_image(exported, tmp_path):
    """CamStyle's names, one of them .png."""
    work_dir, to, stage = exported
    store, original = opened(stage, work_dir)
    root = tmp_path / "camstyle"
    root.mkdir()
    for path, own in zip(store.paths, store.cameras, strict=True):
        for k in (k for k in range(1, 9) if k != own):
            shutil.copy(to / f"{Path(path).stem}_fake_{k}.jpg", root / f"{Path(path).stem}_fake_{own}to{k}.jpg")
    first = sorted(root.iterdir())[0]
    Image.open(first).save(first.with_suffix(".png"))
    first.unlink()
    plan, _ = folder_run(work_dir, root)
    back = next(one for one in plan if one.name == "styles")
    _, styled = opened(back, work_dir)
    assert np.array_equal(styled[np.arange(len(store)), store.camera_labels], store.images)
    other = (store.camera_labels + 1) % 8
    assert np.abs(styled[np.arange(len(store)), other].astype(int) - original[np.arange(len(store)), other]).mean() < 8
    assert any("own cameras' are the images themselves" in note for note in back.about["notes"])


def copied(to: Path, root: Path) -> Path:
    shutil.copytree(to, root)
    return root


def test_all_missing_files_are_named_before_anything_is_made(exported, tmp_path):
    _, to, _ = exported
    root = copied(to, tmp_path / "files")
    gone = sorted(root.glob("*_fake_3.jpg"))[:4] + sorted(root.glob("*_fake_7.jpg"))[:1]
    for path in gone:
        path.unlink()
    with pytest.raises(ValueError) as error:
        folder_run(tmp_path / "work", root)
    lines = str(error.value).splitlines()
    total = len(list(to.glob("*.jpg")))
    assert len(lines) <= 3 and f"5 of {total} camera styles are missing in {root}: {gone[0].name}, " in lines[0]
    assert "4 of camera 3, 1 of camera 7" in lines[1]
    listed = tmp_path / "work" / "missing_styles.txt"
    assert str(listed) in lines[1] and sorted(listed.read_text().split()) == sorted(path.name for path in gone)
    assert list((tmp_path / "work").iterdir()) == [listed]


def test_data_on_disk_is_looked_at_by_its_own_names(exported, tmp_path, world):
    _, to, _ = exported
    with pytest.raises(ValueError, match="camera styles are missing"):
        folder_run(tmp_path / "work", to, f"target.root={world.folder / 'duke'}")


def test_unreadable_files_are_named_and_changed_ones_read_again(exported, tmp_path):
    work_dir, to, _ = exported
    root = copied(to, tmp_path / "files")
    settings = options.compose([*FOLDER, f"work_dir={work_dir}", f"gan.root={root}"])
    before = graph.plan(settings)[-1].hash
    victims = sorted(root.glob("*.jpg"))[5:7]
    for path in victims:
        path.write_bytes(path.read_bytes()[:100])
    assert graph.plan(settings)[-1].hash != before
    with pytest.raises(ValueError) as error:
        folder_run(work_dir, root)
    assert "2 camera styles cannot be read" in str(error.value) and all(
        path.name in str(error.value) for path in victims
    )
    assert not list((work_dir / "cache" / "styles").glob("*.part"))


def both_kinds(root: Path) -> None:
    (root / "0001_c1_f0000001_fake_1to2.jpg").write_bytes(b"")


def test_bad_folders(exported, tmp_path):
    _, to, _ = exported
    root = copied(to, tmp_path / "files")
    both_kinds(root)
    for place, expected in ((root, "expected one kind"), (tmp_path / "none", "No such file"), ("", "needs gan.root")):
        settings = options.compose([*FOLDER, f"gan.root={place or 'null'}"])
        with pytest.raises(ValueError, match=expected):
            graph.plan(settings)


@pytest.mark.parametrize("skip", ["false", "true"])
def test_images_of_one_name_under_several_cameras_go_out_and_come_back(skip, tmp_path, monkeypatch):
    """The folder world, counted anew under each camera, as recorders do; one of camera 12 alone is of a unique name."""
    root, work_dir = tmp_path / "cameras", tmp_path / "work"
    synthetic.draw("folder", str(root), seed=0, train_persons=6, test_persons=1)
    for camera in (3, 7, 12):
        for number, path in enumerate(sorted((root / f"camera_{camera}").iterdir())):
            path.rename(path.with_name(f"{number:04d}.jpg"))
    (root / "camera_12" / "2026-01").mkdir()
    (root / "camera_12" / "0000.jpg").rename(root / "camera_12" / "2026-01" / "only.jpg")
    if skip == "true":
        (root / "camera_7" / "0000.jpg").write_bytes(
            b""
        )  # 0000 is camera 3's alone in what can be read, and not in the folder
    own = ["target=folder", f"target.root={root}", f"work_dir={work_dir}", f"data.skip_unreadable={skip}"]
    own += ["images.height=32", "images.width=16", "quality=95"]
    written = []
    for to, more in (("out", ["hhl.styles=jitter"]), ("back", ["gan=folder", f"gan.root={tmp_path / 'out'}"])):
        line = ["export_styles.py", "cluster=inline", *own, f"to={tmp_path / to}", *more]
        monkeypatch.setattr(sys, "argv", line)
        command.many_main(export_styles.story, "export_styles", {}, cluster="local")
        written.append({path.name for path in (tmp_path / to).iterdir()})
    assert (
        written[0] == written[1] and {"camera_3__0000_fake_7.jpg", "camera_12__2026-01__only_fake_3.jpg"} <= written[0]
    )
    assert ("camera_7__0000_fake_3.jpg" in written[0]) == (skip == "false")
    found = {
        json.loads((path / "stage.json").read_text())["settings"]["styles"]: path
        for path in work_dir.glob("cache/styles/*/")
    }
    jittered, back = (np.load(found[kind] / "styled.npy").astype(int) for kind in ("jitter", "folder"))
    assert jittered.shape == back.shape == (len(written[0]) // 3, 3, 32, 16, 3)
    error, others = np.abs(jittered - back).mean(axis=(1, 2, 3, 4)), np.abs(jittered - np.roll(back, 1, axis=0))
    assert (error < others.mean(axis=(1, 2, 3, 4))).all() and error.mean() < 8


def test_two_images_that_no_name_tells_apart_are_refused():
    assert ready_styles.names(["a/x.jpg", "a/y.png"]) == ["x", "y"]
    assert ready_styles.names(["/r/a/b/x.jpg", "/r/a/../a/c/x.jpg", "/r/a/y.jpg"]) == ["b__x", "c__x", "y"]
    with pytest.raises(ValueError, match="/r/x.jpg and /r/x.png: styles of both would be named x; expected"):
        ready_styles.names(["/r/x.jpg", "/r/x.png"])


def test_what_needs_a_generator_says_so_or_is_left_out(exported):
    work_dir, to, _ = exported
    base = options.compose([*FOLDER, f"work_dir={work_dir}", f"gan.root={to}"])
    assert f"ready styles of {to}" in results.banner(base, graph.plan(base))
    assert base["variants"]["hhl"] == (
        f"hhl.steps=4 hhl.batch=16 hhl.persons=4 gan.root={to} pretrain.steps=4 pretrain.batch=16"
    )
    own = {"seeds": [0], "space": {"hhl.beta": [0.1]}, "known_methods": ["hhl"], "metric": "mAP"}
    one = sweeps.trial(own, {"hhl.beta": 0.1}, base, options.changed, 1)
    assert [stage.name for stage in one.own()] == ["hhl"] and one.trained() == one.own()
    target = one.trained()[0].inputs["target"]
    assert "style retrieval is left out" in sweeps.left_out(own, base, target)[0]
    with pytest.raises(ValueError, match="no generator; expected mAP"):
        sweeps.left_out(own | {"metric": "style_retrieval"}, base, target)
    with pytest.raises(ValueError, match="gan=folder has no generator"):
        graph.style_retrieval(base, one.trained()[0])


def test_an_image_that_is_left_out_needs_no_styles(tmp_path, world):
    """data.skip_unreadable=true on data from disk: who made the styles could not read it, either."""
    target, root = tmp_path / "duke", tmp_path / "files"
    shutil.copytree(world.folder / "duke", target)
    root.mkdir()
    images = sorted((target / "bounding_box_train").iterdir())
    for path in images[1:]:
        for k in range(1, 9):
            (root / f"{path.stem}_fake_{k}.jpg").hardlink_to(path)
    images[0].write_bytes(images[0].read_bytes()[:200])
    more = [f"target.root={target}", "data.skip_unreadable=true", "measures.method.batch=8"]
    plan, results = folder_run(tmp_path / "work", root, *more)
    back = next(one for one in plan if one.name == "styles")
    store, styled = opened(back, tmp_path / "work")
    assert len(store) == len(images) - 1 and np.array_equal(styled[:, 2], store.images)
    (root / f"{images[1].stem}_fake_1.jpg").unlink()
    with pytest.raises(ValueError, match=f"1 of {8 * len(images) - 8} camera styles are missing"):
        folder_run(tmp_path / "work", root, *more)
