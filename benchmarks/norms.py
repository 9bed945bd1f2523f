"""Do class weights and features of persons with few images have small norms? Source-only trainings on a long-tailed drawn world.

    python benchmarks/norms.py --to benchmarks/pictures/norms.png       # six minutes on one thread
    python benchmarks/norms.py --seeds 0 1 2                            # mean +- deviation
    python benchmarks/norms.py --losses softmax --steps 300 --to norms.png

The source-only baseline with recipe=quick's network, optimiser, schedule and options of the losses, 600 steps in one go, on the
drawn market where half of the persons keep two or three images (data.world.long_tail=0.5). The reading notes say, after A-Softmax
and Yin et al. (2019), that class weights of persons with few images have small norms, and after L2-softmax that easy images have
features of large norm; MagFace makes the second a law of its loss. Norms of class weights and persons' mean feature norms are set
against numbers of images, feature norms of images against their cosines to their persons' class weights. Features are what the
loss sees, of the training images as they are, in evaluation mode: for softmax the embedding after ReLU, for the others before it.
The embedding's BatchNorm keeps its mean square over a batch, so that norms are large or small beside each other alone.
"""

import argparse
import statistics
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from recipes import QUICK
from torch.nn.functional import cosine_similarity
from tqdm import tqdm

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

RECIPE = OmegaConf.load(Path(__file__).resolve().parents[1] / "conf" / "recipe" / "quick.yaml")
LOSSES = {
    "softmax": Softmax,
    "ArcFace": partial(ArcFace, **RECIPE.arcface),
    "MagFace": partial(MagFace, **RECIPE.magface),
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
    embedding = method.embedding if method.classifier.feature == "hidden" else method.embedding[:-1]  # its ReLU
    every = np.array_split(np.arange(len(store)), -(-len(store) // 256))
    images = (normalise(store.take(rows)["images"]) for rows in every)
    features = torch.cat([embedding(method.neck(pool(method.backbone(part)))) for part in images])
    labels, weights = torch.from_numpy(store.labels), method.classifier.weight
    cosines = cosine_similarity(features, weights[labels])
    return Norms(
        images=np.bincount(store.labels),
        weights=weights.norm(dim=1).numpy(),
        labels=store.labels,
        features=features.norm(dim=1).numpy(),
        cosines=cosines.numpy(),
    )


def told(name, seeds):
    """Lines: rank correlations, and the tail's medians over those of the others; means and deviations of a list of Norms."""
    correlations = [found.correlations() for found in seeds]
    for what, against in AGAINST.items():
        yield f"{name:8} {what:22} rank correlation {_mean([c[what] for c in correlations], '+.2f')} with {against}"
    for what, values in (("class weight's norm", lambda n: n.weights), ("mean feature norm", Norms.of_persons)):
        ratios = []
        for found in seeds:
            tail = found.images <= FEW
            ratios.append(np.median(values(found)[tail]) / np.median(values(found)[~tail]))
        yield f"{name:8} {what:22} median of persons with {FEW} images or fewer over that of the others {_mean(ratios, '.3f')}"
    least, most = (statistics.fmean(np.quantile(found.features, q) for found in seeds) for q in (0.01, 0.99))
    yield f"{name:8} image's feature norm   from {least:.1f} to {most:.1f} (1st and 99th percentile)"


def _mean(values, form):
    mean = f"{statistics.fmean(values):{form}}"
    return f"{mean} +- {statistics.stdev(values):{form.removeprefix('+')}}" if len(values) > 1 else mean


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--persons", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the world and of the training")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--to", type=Path, help="a PNG file, of the first seed")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = {loss: [] for loss in arguments.losses}
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory(prefix="norms-") as name:
            store = world(Path(name) / "market", arguments.persons, seed)
            for loss, of_loss in found.items():
                of_loss.append(norms(trained(loss, store, arguments.steps, seed, Path(name)), store))
    for loss, of_loss in found.items():
        print(*told(loss, of_loss), sep="\n")
    if arguments.to:
        title = (
            f"{store.num_persons} persons, half of them with two or three images; {arguments.steps} steps, source only"
        )
        identity_charts.norm_charts({loss: of_loss[0] for loss, of_loss in found.items()}, title).savefig(
            arguments.to, dpi=80
        )
        print(arguments.to)


if __name__ == "__main__":
    main()
