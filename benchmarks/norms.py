"""Do class weights and features of persons with few images have small norms? Source-only trainings on a long-tailed drawn world.

    python benchmarks/norms.py --to benchmarks/pictures/norms.png       # seven minutes on a thread of a busy machine
    python benchmarks/norms.py --losses softmax --steps 300 --to norms.png

The source-only baseline with recipe=quick's network, optimiser, schedule and options of the losses, 600 steps in one go, on the
drawn market where half of the persons keep two or three images (data.world.long_tail=0.5). The reading notes say, after A-Softmax
and Yin et al. (2019), that class weights of persons with few images have small norms, and after L2-softmax that easy images have
features of large norm; MagFace makes the second a law of its loss. Norms of class weights and persons' mean feature norms are set
against numbers of images, feature norms of images against their cosines to their persons' class weights. Features are the
embedding before ReLU and dropout, of the training images as they are, in evaluation mode: its BatchNorm keeps their mean square
over a batch, so that norms are large or small beside each other alone.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cosine_similarity
from tqdm import tqdm
from training import QUICK

from pipelines import identity_charts
from pipelines.identity_charts import AGAINST, Norms
from reid_da import decoding
from reid_da.augment import normalise
from reid_da.backbones import pool
from reid_da.batches import method_batches
from reid_da.datasets import synthetic
from reid_da.datasets.market1501 import market1501
from reid_da.identity_losses.arcface import ArcFace
from reid_da.identity_losses.magface import MagFace
from reid_da.identity_losses.softmax import Softmax
from reid_da.learner import Learner
from reid_da.loop import fit
from reid_da.methods.baseline import Baseline

LOSSES = {  # with conf/recipe/quick.yaml's options
    "softmax": Softmax,
    "ArcFace": partial(ArcFace, scale=8.0, margin=0.3),
    "MagFace": partial(MagFace, scale=8.0, margin_min=0.05, margin_max=0.3, lambda_g=1.0),
}
FEW = 3  # images, of persons in the tail


def world(folder, persons, seed):
    """The store of a long-tailed market's training images."""
    synthetic.draw("market", str(folder), seed=seed, train_persons=persons, test_persons=1, long_tail=0.5)
    height, width = QUICK["size"]
    records = market1501(str(folder)).train
    return decoding.create(folder / "store", records, height=height, width=width, resample="bilinear")


def trained(name, store, steps, seed, folder):
    """The source-only baseline with that loss."""
    torch.manual_seed(seed)
    method = Baseline(
        QUICK["backbone"](), num_persons=store.num_persons, identity_loss=LOSSES[name], **QUICK["baseline"]
    )
    learner = Learner(method, QUICK["optimiser"], QUICK["schedule"], steps)
    batches = method_batches(method.streams(store, seed), seed=seed)
    with tqdm(total=steps, desc=name, leave=False, dynamic_ncols=True, disable=None) as bar:

        def report(done, _, floats):
            bar.set_postfix(loss=f"{floats['loss']:.3f}")
            bar.update(done - bar.n)

        fit(learner, batches, steps, folder=folder / name, report=report, checkpoint_every=steps)
    return method.eval()


@torch.no_grad()
def norms(method, store):
    linear, norm, _ = method.embedding
    every = np.array_split(np.arange(len(store)), -(-len(store) // 256))
    images = (normalise(store.take(rows)["images"]) for rows in every)
    features = torch.cat([norm(linear(method.neck(pool(method.backbone(part))))) for part in images])
    labels, weights = torch.from_numpy(store.labels), method.classifier.weight
    cosines = cosine_similarity(features, weights[labels])
    return Norms(
        images=np.bincount(store.labels),
        weights=weights.norm(dim=1).numpy(),
        labels=store.labels,
        features=features.norm(dim=1).numpy(),
        cosines=cosines.numpy(),
    )


def told(name, found):
    """Lines: rank correlations, and the medians of the tail over those of the others."""
    tail = found.images <= FEW
    for what, correlation in found.correlations().items():
        yield f"{name:8} {what:22} rank correlation {correlation:+.2f} with {AGAINST[what]}"
    for what, values in (("class weight's norm", found.weights), ("mean feature norm", found.of_persons())):
        few, many = np.median(values[tail]), np.median(values[~tail])
        yield f"{name:8} {what:22} median {few:.2f} of {tail.sum()} persons with {FEW} images or fewer, {many:.2f} of the others"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--persons", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of the world and of the training")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--to", type=Path, help="a PNG file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = {}
    with tempfile.TemporaryDirectory(prefix="norms-") as name:
        folder = Path(name)
        store = world(folder / "market", arguments.persons, arguments.seed)
        for loss in arguments.losses:
            method = trained(loss, store, arguments.steps, arguments.seed, folder)
            found[loss] = norms(method, store)
            print(*told(loss, found[loss]), sep="\n", flush=True)
    if arguments.to:
        title = (
            f"{store.num_persons} persons, half of them with two or three images; {arguments.steps} steps, source only"
        )
        identity_charts.norm_charts(found, title).savefig(arguments.to, dpi=80)
        print(arguments.to)


if __name__ == "__main__":
    main()
