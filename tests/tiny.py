"""A drawn pair of camera networks and methods small enough to train in a test, for tests and the processes that they start."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from reid_da import decoding
from reid_da.backbones import narrow_resnet
from reid_da.batches import method_batches
from reid_da.datasets import synthetic
from reid_da.datasets.dukemtmc import dukemtmc
from reid_da.datasets.market1501 import market1501
from reid_da.identity_losses.a_softmax import ASoftmax
from reid_da.identity_losses.arcface import ArcFace
from reid_da.identity_losses.center import Center
from reid_da.identity_losses.circle import Circle
from reid_da.identity_losses.contrastive import Contrastive
from reid_da.identity_losses.cosface import CosFace
from reid_da.identity_losses.curricularface import CurricularFace
from reid_da.identity_losses.l_softmax import LSoftmax
from reid_da.identity_losses.magface import MagFace
from reid_da.identity_losses.mv_softmax import MVSoftmax
from reid_da.identity_losses.normface import NormFace
from reid_da.identity_losses.softmax import Softmax
from reid_da.identity_losses.triplet import Triplet
from reid_da.identity_losses.vpl import VPL
from reid_da.images import ImageStore
from reid_da.learner import Learner, adam
from reid_da.methods.arn import ARN
from reid_da.methods.baseline import Baseline
from reid_da.methods.ftl import FTL
from reid_da.methods.hhl import HHL

HEIGHT, WIDTH = 32, 16
STEPS = 100  # of a training, which its schedule goes by
HHL_SIZES = {
    "embedding": 16,
    "batch": 8,
    "persons": 4,
    "images_per_person": 2,
    "triplet_features": 8,
    "triplet_std": 0.1,
}
ARN_SIZES = {"persons": 4, "images_per_person": 2, "target_batch": 8}
FTL_SIZES = {"batch": 8, "under": 9, "directions": 16, "period": 3, "map_size": (4, 2), "decoder_width": 16}
ANNEAL = {"lambda_start": 2.0, "lambda_min": 0.5, "lambda_decay": 1.0}
LOSSES = {  # as conf/loss/ names them: a maker of the loss, or of what is added to softmax
    "softmax": Softmax,
    "normface": partial(NormFace, scale=8.0, learn_scale=True),
    "l_softmax": partial(LSoftmax, margin=2, **ANNEAL),
    "a_softmax": partial(ASoftmax, margin=4, **ANNEAL),
    "cosface": partial(CosFace, scale=8.0, margin=0.2),
    "arcface": partial(ArcFace, scale=8.0, margin=0.3),
    "mv_softmax": partial(MVSoftmax, scale=8.0, margin=0.2),
    "curricularface": partial(CurricularFace, scale=8.0, margin=0.3, momentum=0.5),
    "circle": partial(Circle, scale=8.0),
    "magface": partial(MagFace, scale=8.0, norm_min=1.0, norm_max=20.0, lambda_g=1.0),
    "vpl": partial(VPL, scale=8.0, margin=0.2, lambda_value=0.3, delta=2, warm_up=1),
    "center": partial(Center, weight=0.01),
    "contrastive": partial(Contrastive, weight=0.5, images_per_person=2),
    "triplet": partial(Triplet, images_per_person=2),
    "soft_triplet": partial(Triplet, squared=False, soft=True, normalised=False, images_per_person=2),
}
ADDED = ("center", "contrastive", "triplet", "soft_triplet")


def losses(*names: str) -> dict:
    """The keywords that give a method these losses."""
    return {"added" if name in ADDED else "identity_loss": LOSSES[name] for name in names}


METHODS = {
    "baseline": (Baseline, {"embedding": 16, "batch": 8}),
    "hhl": (HHL, HHL_SIZES | {"n_t": 2, "freeze_embedding": False}),
    "hhl_frozen": (HHL, HHL_SIZES | {"n_t": 2}),
    "hhl_no_target": (HHL, HHL_SIZES | {"n_t": 0, "freeze_embedding": False}),
    "hhl_L_D": (HHL, HHL_SIZES | {"n_t": 2, "freeze_embedding": False, "losses": "L_D"}),
    "hhl_L_C": (HHL, HHL_SIZES | {"n_t": 2, "freeze_embedding": False, "losses": "L_C"}),
    "hhl_clustered": (HHL, HHL_SIZES | {"n_t": 2, "freeze_embedding": False, "sampling": "clustered"}),
    "hhl_strong": (
        HHL,
        HHL_SIZES | {"n_t": 2, "freeze_embedding": False, "soft_margin": True, "bn_neck": True, "label_smoothing": 0.1},
    ),
    "arn": (ARN, ARN_SIZES),
    "arn_source": (ARN, ARN_SIZES | {"target_terms": False}),
    "arn_rec": (ARN, ARN_SIZES | {"identity_terms": False, "private": False, "freeze_shared": True}),
    "arn_rec_private": (ARN, ARN_SIZES | {"identity_terms": False}),
    "arn_identity": (ARN, ARN_SIZES | {"private": False}),
    "arn_frozen": (ARN, ARN_SIZES | {"freeze_shared": True}),
    "arn_fcn": (ARN, ARN_SIZES | {"encoder": "fcn", "map_size": (4, 2), "fcn_width": 16}),
    "arn_image": (ARN, ARN_SIZES | {"decoder": "image"}),
    "ftl": (FTL, FTL_SIZES | {"pretrain_share": 0.01}),  # of 100 steps the first, then three of stage 1
    "arn_mmd": (ARN, ARN_SIZES | {"weight_mmd": 0.5, "label_smoothing": 0.1, "bn_neck": True}),
    **{name: (Baseline, {"embedding": 16, "batch": 8} | losses(name)) for name in LOSSES if name != "softmax"},
    "hhl_vpl": (HHL, HHL_SIZES | {"n_t": 2, "freeze_embedding": False} | losses("vpl", "center")),
    "curricularface_arn": (ARN, ARN_SIZES | {"bn_neck": True} | losses("curricularface", "triplet")),
}


class World(NamedTuple):
    """source: 12 persons, 6 cameras. target: 12 persons, 8 cameras. styles: (N, 8, 32, 16, 3) uint8, a cast for each camera."""

    folder: Path
    source: ImageStore
    target: ImageStore
    styles: np.ndarray


def draw_world(folder: Path) -> World:
    for role, name, read in (("source", "market", market1501), ("target", "duke", dukemtmc)):
        synthetic.draw(name, str(folder / name), seed=0, train_persons=12, test_persons=4)
        records = read(str(folder / name)).train
        decoding.create(folder / role, records, height=HEIGHT, width=WIDTH, resample="bilinear")
    store = ImageStore(folder / "target")
    casts = np.random.default_rng(0).uniform(0.4, 1.0, (store.num_cameras, 1, 1, 3))
    np.save(folder / "styles.npy", (store.images[:, None] * casts).astype(np.uint8))
    return open_world(folder)


def open_world(folder: Path) -> World:
    stores = (ImageStore(folder / role) for role in ("source", "target"))
    return World(folder, *stores, np.load(folder / "styles.npy", mmap_mode="r"))


def build(name: str, world: World, seed: int = 0, trunk=lambda: narrow_resnet(4), **options):
    """The method of that name, on a trunk of 32 features unless told, its weights drawn from `seed`."""
    torch.manual_seed(seed)
    method, sizes = METHODS[name]
    return method(trunk(), num_persons=world.source.num_persons, **sizes | options)


def batches(method, world: World, seed: int = 0, **options):
    clusters = np.arange(len(world.target)) % 5
    wanted = {"target": world.target, "styles": world.styles, "clusters": clusters, "steps": STEPS}
    streams = method.streams(world.source, seed, **{name: wanted[name] for name in method_inputs(method)})
    return method_batches(streams, seed=seed, **options)


def method_inputs(method) -> tuple[str, ...]:
    """What `inputs` asks for; it is called, as by the stages, with the options and before there is a method."""
    names = ("n_t", "losses", "sampling", "target_terms")
    return type(method).inputs(**{name: getattr(method, name) for name in names if hasattr(method, name)})


def learner(
    method, optimiser=adam, schedule=lambda progress: 1 - progress, steps: int = STEPS, lr: float = 0.01, **options
):
    rates = dict.fromkeys(method.parameter_groups(), lr)
    return Learner(method, partial(optimiser, lr=rates, **options), schedule, steps)


def in_double(batch: dict) -> dict:
    """A batch with images in float64."""
    return {k: {**v, "images": v["images"].double()} if isinstance(v, dict) else v for k, v in batch.items()}


def snapshot(state):
    """A copy of nested dicts of tensors, so that later training does not reach it."""
    if isinstance(state, dict):
        return {key: snapshot(value) for key, value in state.items()}
    return state.clone() if isinstance(state, torch.Tensor) else state


def same(a, b) -> bool:
    """Equal bit for bit: nested dicts, lists and tensors."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b
