"""Bad input to the real command: one to three clear lines, exit code 2, no traceback, nothing left behind."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from pipelines import cluster, command, options
from pipelines.run import story

ROOT = Path(__file__).resolve().parents[2]


def run(work_dir: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "pipelines" / "run.py"), *arguments]
    if work_dir:
        command.append(f"work_dir={work_dir}")
    return subprocess.run(command, capture_output=True, text=True, cwd=work_dir.parent, timeout=120)


PAIR = ("source=market", "target=duke")
BAD = {
    "unknown data set": (("source=markt", "target=duke"), ["unknown source 'markt'", "did you mean 'market'"]),
    "no target": (("source=market",), ["target=NAME", "duke, folder, market, msmt17"]),
    "missing folder": ((*PAIR, "target.root=nowhere"), ["nowhere", "does not exist"]),
    "no root for data on disk": ((*PAIR, "data=disk"), ["data.root=", "source.root="]),
    "misspelt option": ((*PAIR, "hhl.betta=1"), ["unknown option 'hhl.betta'", "did you mean 'hhl.beta'"]),
    "option of another constructor": ((*PAIR, "+hhl.optimiser.momentum=0.9"), ["takes no 'momentum'"]),
    "not a number": ((*PAIR, "hhl.margin=wide"), ["hhl.margin is 'wide'", "a number"]),
    "unknown method": ((*PAIR, "methods=[hhl,mmt]"), ["unknown 'mmt'", "arn, baseline, chance, ftl, hhl, histogram"]),
    "unknown loss": ((*PAIR, "identity_loss=arcfce"), ["unknown 'arcfce'", "did you mean 'arcface'?"]),
    "two losses": ((*PAIR, "identity_loss=arcface+cosface"), ["expected one loss", "such as arcface+center"]),
    "a loss that nobody takes": (
        (*PAIR, "methods=[ftl]", "identity_loss=arcface"),
        ["methods=['ftl'] take none", "(arn, baseline, hhl)"],
    ),
    "smoothing of no cross-entropy": (
        (*PAIR, "identity_loss=circle", "hhl.label_smoothing=0.1"),
        ["identity_loss=circle is no cross-entropy"],
    ),
    "a batch of broken persons": (
        (*PAIR, "identity_loss=triplet", "hhl.batch=62"),
        ["hhl.batch is 62", "images_per_person 4"],
    ),
    "too many workers": ((*PAIR, "cluster.num_workers=999"), ["cluster.num_workers is 999", "room for 1 to"]),
    "negative n_t": ((*PAIR, "n_t=-1"), ["hhl.n_t is -1", "at least 0"]),
    "the same data twice": (("source=market", "target=market"), ["same data", "target.root="]),
    "unknown styles": ((*PAIR, "hhl.styles=painted"), ["hhl.styles is painted", "generator, copies, jitter, redrawn"]),
    "jitter of one number": ((*PAIR, "hhl.styles=jitter", "hhl.jitter=[0.1]"), ["hhl.jitter is [0.1]", "hue"]),
    "jitter that is no number": ((*PAIR, "hhl.styles=jitter", "hhl.jitter=[a,b,c,d]"), ["hhl.jitter is ['a'", "hue"]),
    "unknown labels": ((*PAIR, "baseline.labels=all"), ["baseline.labels is all", "source or target"]),
    "start from a control": (
        (*PAIR, "methods=[arn]", "arn.start=baseline", "baseline.labels=target"),
        ["arn starts from the baseline", "methods=[baseline]"],
    ),
    "no steps": ((*PAIR, "arn.steps=0"), ["arn.steps is 0", "at least 1"]),
    "no steps of pretrain": ((*PAIR, "pretrain.steps=0"), ["pretrain.steps is 0", "at least 1"]),
    "no steps of the generator": ((*PAIR, "gan.steps=0"), ["gan.steps is 0", "at least 1"]),
    "two lengths": ((*PAIR, "hhl.epochs=5"), ["hhl.steps=300 and hhl.epochs=5"]),
    "no length": ((*PAIR, "hhl.steps=null"), ["needs one length", "neither"]),
    "null where a number is needed": ((*PAIR, "n_t=null"), ["hhl.n_t is None", "such as 8"]),
    "a float for a count": ((*PAIR, "n_t=4.0"), ["hhl.n_t is 4.0", "whole number"]),
    "infinity": ((*PAIR, "hhl.beta=inf"), ["hhl.beta is inf", "a number"]),
    "not a length": ((*PAIR, "hhl.steps=null", "hhl.epochs=abc"), ["hhl.epochs is 'abc'", "whole number"]),
    "unknown start": ((*PAIR, "hhl.start=nope"), ["hhl.start is nope", "expected null, baseline"]),
    "a number for a folder": ((*PAIR, "source.root=1"), ["/1", "does not exist"]),
    "method for methods": ((*PAIR, "method=hhl"), ["methods=[hhl]"]),
    "weights that are no file": ((*PAIR, "recipe=paper", "backbone.weights=/nope.pth"), ["/nope.pth", "no file"]),
    "unknown kind of cluster": ((*PAIR, "cluster.kind=foo"), ["cluster.kind is foo", "inline"]),
    "an MLflow that is none": ((*PAIR, "tracking.uri=nonsense://x"), ["tracking.uri", "nonsense"]),
    "a folder for MLflow": (
        (*PAIR, "tracking.uri=runs"),
        ["tracking.uri is runs; expected a database such as sqlite:"],
    ),
    "a server that is not there": ((*PAIR, "tracking.uri=http://127.0.0.1:9"), ["MLflow at tracking.uri", "127.0.0.1"]),
    "ready styles without gan=folder": ((*PAIR, "gan.root=/x"), ["gan.root", "give gan=folder"]),
    "an option of another generator": ((*PAIR, "gan=folder", "gan.steps=3"), ["'gan.steps' here", "other choices"]),
    "networks too deep for the images": ((*PAIR, "gan=best"), ["64x32", "gan.discriminator.depth", "images.height"]),
    "a bound that is no number": ((*PAIR, "gan.bounds.camera=high"), ["gan.bounds.camera is 'high'", "a number"]),
    "ready styles from nowhere": ((*PAIR, "gan=folder"), ["gan=folder needs gan.root=/path", "<stem>_fake_<k>.jpg"]),
    "ready styles from no folder": ((*PAIR, "gan=folder", "gan.root=/nope"), ["gan.root is /nope", "No such file"]),
    "half an override": ((*PAIR, "hhl"), ["hhl"]),
    "an option put in": ((*PAIR, "+foo=1"), ["unknown option 'foo'"]),
    "a block taken out": ((*PAIR, "~hhl"), ["~hhl: options cannot be taken away"]),
    "a batch of a control": (
        (*PAIR, "methods=[baseline]", "baseline.labels=target", "pretrain.batch=4000"),
        ["pretrain.batch is 4000", "the training images of duke"],
    ),
    "no batch for the measures": ((*PAIR, "measures.method.batch=0"), ["measures.method.batch is 0", "at least 2"]),
    "measures uphill": (
        (*PAIR, "measures.method.optimiser.lr.base=-1"),
        ["measures.method.optimiser.lr.base is -1.0", "0 or more"],
    ),
    "measures of no width": ((*PAIR, "measures.backbone.width=0"), ["measures: "]),
    "words for channels": (
        (*PAIR, "gan=paper", "images.height=128", "images.width=64", "gan.generator.channels=abc"),
        ["channels is 'abc'", "a whole number such as 64"],
    ),
    "words for a rate": ((*PAIR, "+hhl.optimiser.lr.foo=abc"), ["hhl.optimiser.lr.foo is abc", "a number"]),
    "a number for a method": ((*PAIR, "methods=[1]"), ["methods: unknown '1'"]),
    "a path that a shell left empty": ((*PAIR, "target.root="), ["target.root is empty", "a path"]),
    "no data set": (("source=market", "target="), ["unknown target ''", "there are cuhk03np, duke"]),
    "more persons than there are": (
        (*PAIR, "hhl.persons=500"),
        ["hhl.persons is 500", "at most 300, the training persons"],
    ),
    "more images than there are": ((*PAIR, "gan.batch=99999"), ["gan.batch is 99999", "the training images of duke"]),
    "a batch of one": ((*PAIR, "hhl.batch=1"), ["hhl.batch is 1", "at least 2"]),
    "no persons": ((*PAIR, "methods=[arn]", "arn.persons=0"), ["arn.persons x arn.images_per_person is 0"]),
    "a name with a space": ((*PAIR, "target.name='my mall'"), ["target.name is 'my mall'", "target.name=north_hall"]),
    "another data set's name": ((*PAIR, "target.name=market"), ["target.name is market, another data set's", "duke"]),
    "one data set under two names": (("source=market", "target=market", "target.name=mine"), ["are the same data"]),
    "no height": ((*PAIR, "images.height=-32"), ["images.height is -32", "at least 1"]),
    "no width": ((*PAIR, "backbone.width=0"), ["pretrain: "]),
    "a spread below zero": ((*PAIR, "hhl.triplet_std=-1"), ["hhl: ", "std"]),
    "uphill": ((*PAIR, "hhl.optimiser.lr.base=-1"), ["hhl.optimiser.lr.base is -1.0", "0 or more"]),
    "a generator's rate": ((*PAIR, "gan.training.lr=-1"), ["gan.training: ", "learning rate"]),
    "a beta of two": ((*PAIR, "gan.training.betas=[0.5]"), ["gan.training: betas=[0.5]: expected the two of Adam"]),
    "a generator's precision": ((*PAIR, "gan.training.precision=fp16"), ["gan.training: precision is 'fp16'"]),
    "no channels": ((*PAIR, "gan.discriminator.channels=0"), ["gan.discriminator: "]),
    "a crop of twice the image": ((*PAIR, "gan.crop=2"), ["gan.crop is 2.0", "up to 1"]),
}


@pytest.fixture
def fails(refused):
    return partial(refused, partial(command.main, story))


@pytest.mark.slow
@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, fails):
    arguments, expected = BAD[case]
    text = fails(*arguments)
    assert all(part in text for part in expected), text


@pytest.mark.skipif(cluster.num_cores() < 2, reason="needs two cores to ask for two workers")
def test_a_batch_that_the_workers_cannot_share(fails, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)  # one GPU has room for one worker
    assert "hhl.n_t is 7, which 2 workers cannot share" in fails(*PAIR, "cluster.num_workers=2", "n_t=7")


@pytest.mark.slow
def test_the_real_command_in_a_process_of_its_own(tmp_path):
    done = run(tmp_path / "work", *PAIR, "n_t=-1")
    assert done.returncode == 2 and "Traceback" not in done.stdout + done.stderr
    assert done.stderr.startswith("error: hhl.beta is 0.5 and hhl.n_t is -1") and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def make_layout(root: Path, drawn: Path, change) -> Path:
    """A copy of a drawn data set (hard links), with one thing changed."""
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        (root / folder).mkdir(parents=True)
        for path in (drawn / folder).iterdir():
            os.link(path, root / folder / path.name)
    change(root)
    return root


def empty_query(root: Path) -> None:
    for path in (root / "query").iterdir():
        path.unlink()


def unnamed_camera(root: Path) -> None:
    first = sorted((root / "bounding_box_train").iterdir())[0]
    first.rename(first.with_name("0001_000451.jpg"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "expected"),
    [(empty_query, ["query"]), (unnamed_camera, ["0001_000451.jpg", "data.skip_unmatched=true"])],
)
def test_bad_folders(change, expected, tmp_path, world, fails):
    make_layout(tmp_path / "data", world.folder / "market", change)
    text = fails("source=duke", "target=market", f"target.root={tmp_path / 'data'}")
    assert all(part in text for part in expected), text


def test_help_names_the_options(tmp_path):
    done = run(tmp_path / "work", "--help")
    assert done.returncode == 0 and "source=market target=duke" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_ray_that_cannot_be_joined_is_told_with_what_helps(monkeypatch):
    """The words alone: Ray itself takes half a minute to say that a token is missing."""

    def refuse(launch, **options):
        raise ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379.")

    monkeypatch.setattr(cluster.RayCluster, "_init", refuse)
    told = "^cluster=auto: Failed to connect .*10.0.0.1:6379. Is it running.*export RAY_AUTH_MODE=token"
    with (
        pytest.raises(ValueError, match=told),
        cluster.connect(options.compose(["source=market", "target=duke", "cluster=auto"])),
    ):
        pass


HANGING = """
import os, signal, time
from pipelines import command
command.STOP_SECONDS = 0.2
with command.stoppable():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    finally:
        time.sleep(60)
"""


@pytest.mark.parametrize(
    ("given", "searched"),
    [
        (["sweep=n_t"], ["hhl.n_t"]),
        (["sweep=n_t", "sweep.space.gan.steps=[100,200]"], ["hhl.n_t", "gan.steps"]),
        (["sweep.space.gan.steps=[100,200]"], ["gan.steps"]),
    ],
)
def test_options_are_added_to_a_sweep_that_is_named_and_stand_alone_else(given, searched, monkeypatch):
    found = []
    monkeypatch.setattr(sys, "argv", ["sweep.py", *given])
    command.many_main(lambda own, compose: found.append(own["sweep"]["space"]), "sweep", {}, cluster="inline")
    assert [list(space) for space in found] == [searched]


def test_a_stop_that_hangs_is_ended():
    done = subprocess.run([sys.executable, "-c", HANGING], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 143 and "stopped; finished stages and checkpoints are kept" in done.stderr
