"""What a GPU does: the same numbers as a CPU, to the bit again after a restart, and nothing read before it is there.

Left out, by name, where there is none. `python -m pytest tests/test_cuda.py` needs torch, torchvision, Pillow and pytest alone.
What can be told without one, test_pretended.py gives to a device that refuses to mix with the CPU (`-p pretended`).
"""

import sys
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import tiny
import torch

from gan.colour_affine import ColourAffineGenerator
from gan.networks import Discriminator, Generator
from gan.stargan import StarGAN
from reid_da import distributed, loop
from reid_da.augment import normalise
from reid_da.backbones import resnet50
from reid_da.batches import translation_batches
from reid_da.images import on_device
from reid_da.losses import batch_hard_triplet
from reid_da.ranking import evaluate, k_reciprocal_rerank, rank_metrics
from reid_da.retrieval import embed
from reid_da.transfer import Ahead

PRETENDED = sys.modules.get("pretended")
DEVICE = PRETENDED.NAME if PRETENDED else "cuda"
pytestmark = pytest.mark.skipif(not (PRETENDED or torch.cuda.is_available()), reason="there is no GPU")
real = pytest.mark.skipif(bool(PRETENDED), reason="only a real GPU shows it")
STEPS = 6


@pytest.fixture(autouse=True)
def exact():
    """Convolutions in float32 itself instead of TF32, and kernels that add in one order, as the stages ask for."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = False, True
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = before


def on(device, method):
    return method.to(device, memory_format=torch.channels_last)


def gradients(method):
    return {name: p.grad.double().cpu() for name, p in method.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", tiny.METHODS)
def test_terms_and_gradients_are_those_of_the_cpu(world, name):
    found = {}
    for device in ("cpu", DEVICE):
        method = on(device, tiny.build(name, world))
        learner = tiny.learner(method)
        floats = learner.update(tiny.batches(method, world, device=device)(0))
        found[device] = floats, gradients(method)
    (floats, expected), (again, got) = found["cpu"], found[DEVICE]
    assert again == pytest.approx(floats, rel=1e-4, abs=1e-6)
    assert got.keys() == expected.keys()
    for key, gradient in expected.items():
        assert (got[key] - gradient).norm() <= 2e-3 * gradient.norm() + 1e-6, key


def tensors(batch, prefix=""):
    """(name, tensor) in nested dicts."""
    for name, value in batch.items():
        if isinstance(value, dict):
            yield from tensors(value, f"{name}/")
        elif isinstance(value, torch.Tensor):
            yield f"{prefix}{name}", value


@pytest.mark.skipif(not PRETENDED, reason="of the pretended device itself")
def test_the_pretended_device_refuses_and_counts():
    here, waits = torch.ones(3, device=DEVICE), PRETENDED.waits
    with pytest.raises(RuntimeError, match="add: tensors on the pretended device and on the CPU"):
        here + torch.ones(3)
    with pytest.raises(RuntimeError, match="index: "):
        torch.ones(3)[here.long()]
    for look in (
        lambda: here.cpu(),
        lambda: here.sum().item(),
        lambda: here[here > 0],
        lambda: torch.tensor(1.0, device=DEVICE),
    ):
        waits.clear()
        look()
        assert sum(waits.values()) == 1
    waits.clear()
    assert (here + here.sum())[torch.tensor([0])].to("cpu", non_blocking=True).tolist() == [4] and not waits


@contextmanager
def no_waits():
    """The host does not wait for the device meanwhile, but for an event of its own."""
    if PRETENDED:
        PRETENDED.waits.clear()
        yield
        assert not PRETENDED.waits
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("kind", ["stargan", "colour_affine", *tiny.METHODS])
def test_the_host_waits_for_nothing_but_a_steps_terms(world, kind):
    """It goes on to queue what comes next, and so does the thread that prepares the batches."""
    learner, batches = start(kind, world)
    for step in (0, 2):  # FTL looks at all images in one of them, a colour-affine generator at its looks
        learner.update(batches(step))
    with no_waits():
        learner.update(batches(3))


@real
@pytest.mark.parametrize("kind", ["hhl", "translation"])
def test_batches_prepared_on_a_stream_of_their_own_are_whole_when_they_are_used(world, kind):
    """Beside a network's work that keeps the GPU behind; each is copied before the next may take its memory."""
    method = tiny.build("hhl", world)

    def make(device):
        if kind == "hhl":
            return tiny.batches(method, world, device=device)
        return translation_batches(world.target, 8, seed=0, device=device)

    plain, ahead = make("cpu"), Ahead(make(DEVICE), 40, DEVICE)
    busy, kept = torch.randn(4096, 4096, device=DEVICE), []
    for step in range(40):
        batch = ahead(step)
        busy = busy @ busy / 64
        kept.append({name: value.clone() for name, value in tensors(batch)})
    for step, copies in enumerate(kept):
        for name, value in tensors(plain(step)):
            assert torch.allclose(copies[name].cpu().double(), value.double(), atol=2e-4), (step, name)


def stargan(world=None):
    """With a colour-affine generator of this world, or StarGAN's own."""
    torch.manual_seed(0)
    generator, discriminator = Generator(8, channels=8, num_blocks=1), Discriminator(8, 32, 16, channels=8, depth=3)
    if world:
        generator = ColourAffineGenerator(8, channels=8)
        generator.measure(world.target.images, torch.from_numpy(world.target.camera_labels))
    return StarGAN(
        generator.to(DEVICE), discriminator.to(DEVICE), steps=STEPS, n_critic=2, weight_identity=5.0, ema=0.9
    )


def start(kind, world):
    """A learner on the GPU and its batches."""
    if kind in ("stargan", "colour_affine"):
        learner = stargan(world if kind == "colour_affine" else None)
        return learner, translation_batches(world.target, 8, seed=0, device=DEVICE)
    if kind == "resnet50":  # its strided convolutions and its pooling
        method = tiny.build("baseline", world, trunk=partial(resnet50, weights=None))
    else:
        method = tiny.build(kind, world)
    method = on(DEVICE, method)
    return tiny.learner(method), tiny.batches(method, world, device=DEVICE)


def trained(kind, world, folder, end=None):
    """The learner's state after STEPS steps on the GPU; `end`: stopped there first, then gone on with by new networks."""
    folder.mkdir()
    for last in (end, STEPS) if end else (STEPS,):
        learner, batches = start(kind, world)
        report = lambda done, *_, last=last: done == last  # noqa: E731
        ahead = Ahead(batches, STEPS, DEVICE)
        loop.fit(learner, ahead, STEPS, folder=folder, report=report, report_every=1, checkpoint_every=1)
    return learner.state_dict()


@pytest.mark.parametrize("kind", ["stargan", "resnet50", *tiny.METHODS])
def test_a_training_that_was_stopped_ends_as_one_that_was_not(world, tmp_path, kind):
    whole = trained(kind, world, tmp_path / "whole")
    again = trained(kind, world, tmp_path / "again", end=3)
    assert tiny.same(whole, again)


@real
@pytest.mark.parametrize("name", ["baseline", "hhl", "arn", "arn_fcn"])
def test_a_compiled_training_is_the_same_to_rounding(world, name):
    methods = [on(DEVICE, tiny.build(name, world)) for _ in range(2)]
    for part in methods[1].children():
        part.compile()
    floats = []
    for method in methods:
        learner, batches = tiny.learner(method, lr=1e-4), tiny.batches(method, world, device=DEVICE)
        floats.append([learner.update(batches(step)) for step in range(3)])
    for plain, compiled in zip(*floats, strict=True):
        assert compiled == pytest.approx(plain, rel=2e-3, abs=1e-5)


@real
@pytest.mark.parametrize("name", ["baseline", "hhl", "hhl_strong", "arn", "arn_fcn", "arn_image", "arn_mmd"])
def test_bf16_terms_are_near_those_of_float32(world, name):
    found = {}
    for precision in ("float32", "bf16"):
        method = on(DEVICE, tiny.build(name, world))
        learner = tiny.learner(method)
        learner.precision = precision
        found[precision] = learner.update(tiny.batches(method, world, device=DEVICE)(0))
        assert all(p.grad is None or p.grad.dtype == torch.float32 for p in method.parameters())
    assert found["bf16"] == pytest.approx(found["float32"], rel=0.1, abs=0.02)


@real
def test_stargan_in_bf16_is_near_float32(world):
    batch = translation_batches(world.target, 8, seed=0, device=DEVICE)(1)
    found = []
    for precision in ("float32", "bf16"):
        learner = stargan()
        learner.precision = precision
        found.append(learner.update(batch))
    assert found[1] == pytest.approx(found[0], rel=0.1, abs=0.1)


def test_pictures_kept_on_the_gpu_give_the_same_batches(world):
    method = tiny.build("hhl", world)
    mapped, resident = (tiny.batches(method, world, device=DEVICE, resident=flag)(3) for flag in (False, True))
    assert tiny.same(dict(tensors(mapped)), dict(tensors(resident)))


def test_pictures_that_the_gpu_has_no_room_for_are_refused(world, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 2000))
    with pytest.raises(ValueError, match="give data.cache=mapped"):
        on_device(world.source, DEVICE)


def test_a_loss_that_is_not_finite_ends_the_training_and_leaves_the_weights(world):
    method = on(DEVICE, tiny.build("hhl", world))
    learner, batch = tiny.learner(method), tiny.batches(method, world, device=DEVICE)(0)
    before = tiny.snapshot({name: p.detach() for name, p in method.named_parameters()})
    batch["triplet"]["images"][0, 0, 0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match="step 0: loss/triplet is nan"):
        learner.update(batch)
    assert tiny.same(before, {name: p.detach() for name, p in method.named_parameters()})


def test_anchors_without_a_negative_give_nan_where_looking_would_mean_waiting():
    rows = torch.randn(4, 8, device=DEVICE)
    assert batch_hard_triplet(rows, torch.zeros(4, dtype=torch.long, device=DEVICE)).isnan()
    labels = torch.tensor([0, 0, 1, 1], device=DEVICE)
    assert batch_hard_triplet(rows, labels, anchors=torch.zeros(4, dtype=torch.bool, device=DEVICE)).isnan()
    assert batch_hard_triplet(rows, labels).isfinite()


def test_rankings_are_those_of_the_cpu():
    rng = torch.Generator().manual_seed(0)
    centres = torch.randn(20, 64, generator=rng)
    sides = []
    for count in (60, 300):
        persons = torch.randint(20, (count,), generator=rng)
        features = torch.nn.functional.normalize(centres[persons] + 1.5 * torch.randn(count, 64, generator=rng))
        sides.append((features, persons.numpy(), np.arange(count) % 5))
    (queries, *query_ids), (gallery, *gallery_ids) = sides
    expected = evaluate(queries, *query_ids, gallery, *gallery_ids)
    got = evaluate(queries.to(DEVICE), *query_ids, gallery.to(DEVICE), *gallery_ids)
    assert got.mAP == pytest.approx(expected.mAP, abs=1e-6) and np.allclose(got.cmc, expected.cmc)
    reranked = k_reciprocal_rerank(queries.to(DEVICE), gallery.to(DEVICE))
    assert torch.allclose(reranked.cpu(), k_reciprocal_rerank(queries, gallery), atol=1e-4)
    assert rank_metrics(reranked, *query_ids, *gallery_ids).mAP > expected.mAP


def test_ties_junk_and_distractors_rank_as_on_the_cpu():
    draw = np.random.default_rng(0)
    ids = [draw.integers(low, 6, count) for low, count in ((1, 40), (0, 40), (-1, 200), (0, 200))]
    distances = torch.from_numpy(draw.integers(0, 9, (40, 200)).astype(np.float32))
    expected, got = rank_metrics(distances, *ids), rank_metrics(distances.to(DEVICE), *ids)
    assert (got.cmc == expected.cmc).all()
    assert (got.mAP, got.mAP_trapezoid, got.mINP) == (expected.mAP, expected.mAP_trapezoid, expected.mINP)


def test_features_are_those_of_the_cpu(world):
    method = tiny.build("baseline", world)
    found = {d: embed(on(d, method), world.target, normalise, device=d, batch_size=7) for d in ("cpu", DEVICE)}
    assert torch.allclose(found["cpu"], found[DEVICE], atol=1e-4)


def test_every_stage_gives_what_it_gives_on_the_cpu(tmp_path, monkeypatch):
    pytest.importorskip("hydra")
    from started import TINY

    from pipelines import cluster, options, stages

    more = ["methods=[histogram,baseline,hhl,arn]", "upper_bound=true", "baseline.bn=target", "data.cache=device"]
    found = {}
    for device in ("cpu", DEVICE):
        monkeypatch.setattr(distributed, "device", lambda device=device: device)
        settings = options.compose([*TINY, *more, "cluster=inline", f"work_dir={tmp_path / device}"])
        with cluster.connect(settings) as launch:
            found[device] = stages.run(settings, launch, stages.Silent())
    rounding = 1e-6 if PRETENDED else 0.05  # a GPU's: some of two dozen queries find others first
    for name, result in found["cpu"].items():
        assert found[DEVICE][name]["target"]["mAP"] == pytest.approx(result["target"]["mAP"], abs=rounding), name
