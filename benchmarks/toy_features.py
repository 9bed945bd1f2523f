"""What softmax, softmax + centre loss and ArcFace make of two features: the same small network, trained on eight drawn persons.

    python benchmarks/toy_features.py --to benchmarks/pictures/toy_features.png       # a minute and a half on one thread
    python benchmarks/toy_features.py --to toy.png --gif toy.gif                      # a film too

A trunk whose pooled maps a linear layer without bias takes to two numbers, which the loss sees. The losses are the project's own
(reid_da/identity_losses); the trunk's start and the batches are the same for all three. Softmax has no bias here, so that its
class weights tell all of the classifier. Images that are drawn, and counted, were held out: new pictures of the same persons.

Settings are of this toy, chosen by looking. The centre term weighs 0.3 instead of 0.003: two features have few squares to sum.
ArcFace has scale 8 and its paper's margin of 0.5 rad (eight persons lie 45 degrees, 0.79 rad, apart) and is plain softmax on the
same class weights for the first quarter: begun at once on a circle, where persons cannot pass each other, it leaves two in
one spoke (--soft 0). Class weights learn 20 times as fast as the network, without which those that start side by side part late.

Printed, of the held-out images: the share that is right; the mean angle to their person's mean direction; the least angle
between two persons' mean directions (45 at most); the mean distance to their person's mean over that between persons' means.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from tqdm import tqdm

from pipelines import identity_charts
from pipelines.identity_charts import Frame
from reid_da.augment import normalise
from reid_da.backbones import narrow_resnet, pool
from reid_da.datasets import synthetic
from reid_da.identity_losses.arcface import ArcFace
from reid_da.identity_losses.center import Center
from reid_da.identity_losses.softmax import Softmax
from reid_da.learner import one_cycle
from reid_da.sampling import Shuffled

WORLD, PERSONS, CAMERAS = "market", 8, 6
SIZE, BATCH, RATE, CLASS_RATE = (32, 16), 40, 5e-3, 0.1  # height x width; Adam's learning rates
SHOWN = (0, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1)  # of the training: the picture's columns
FILM = 48  # pictures


def picture(label, number):
    """(128, 64, 3) uint8: such a picture of the person, under one camera after the other."""
    camera = 1 + number % CAMERAS
    return synthetic.redraw(WORLD, 0, f"{label + 1:04d}_c{camera}s1_{number:06d}_01.jpg", camera)


def drawn(numbers):
    """(images (N, 3, H, W) normalised, labels (N,)): those pictures of every person."""
    labels = torch.arange(PERSONS).repeat_interleave(len(numbers))
    pictures = [Image.fromarray(picture(label, number)) for label in range(PERSONS) for number in numbers]
    small = [np.asarray(one.resize(SIZE[::-1], Image.Resampling.BOX)) for one in pictures]
    return normalise(torch.from_numpy(np.stack(small))), labels


class Toy(nn.Module):
    """Trunk and two features, the loss that they are for, and what is added to it; plain softmax for a share `soft` of the way."""

    def __init__(self, loss, added=None, soft=0.0):
        super().__init__()
        self.trunk = narrow_resnet(8)
        self.embedding = nn.Linear(self.trunk.num_features, 2, bias=False)
        self.loss, self.added = loss(2, PERSONS), added(2, PERSONS) if added else None
        self.soft = soft
        if isinstance(self.loss, Softmax):
            self.loss.bias.requires_grad_(False)

    def forward(self, images):
        return self.embedding(pool(self.trunk(images)))

    def total(self, images, labels, progress):
        """The loss of a batch, `progress` of the way."""
        features = self(images)
        if progress < self.soft:
            return nn.functional.cross_entropy(features @ self.loss.weight.T, labels)
        total = self.loss(features, labels)
        return total + self.added.weight * self.added(features, labels) if self.added else total

    @torch.no_grad()
    def frame(self, step, images, labels):
        self.eval()
        features, weights = self(images), self.loss.weight
        logits = features @ (nn.functional.normalize(weights) if isinstance(self.loss, ArcFace) else weights).T
        centres = self.added.centers.clone().numpy() if self.added else None
        right = (logits.argmax(1) == labels).float().mean().item()
        return Frame(step, features.numpy(), weights.detach().clone().numpy(), centres, right)


LOSSES = {
    "softmax": lambda soft: Toy(Softmax),
    "softmax + centre loss": lambda soft: Toy(Softmax, lambda *sizes: Center(*sizes, weight=0.3)),
    "ArcFace": lambda soft: Toy(lambda *sizes: ArcFace(*sizes, scale=8.0, margin=0.5), soft=soft),
}


def trained(toy, train, held_out, steps, wanted, seed, bar):
    """Frames of the held-out images after each of the wanted numbers of steps."""
    (images, labels), frames = train, {}
    groups = [
        {"params": [*toy.trunk.parameters(), *toy.embedding.parameters()], "base_lr": RATE},
        {"params": [p for p in toy.loss.parameters() if p.requires_grad], "base_lr": CLASS_RATE},
    ]
    optimiser, stream = torch.optim.Adam(groups), Shuffled(len(labels), BATCH, seed=seed, name="toy")
    for step in range(steps + 1):
        if step in wanted:
            frames[step] = toy.frame(step, *held_out)
        if step == steps:
            return frames
        for group in optimiser.param_groups:
            group["lr"] = group["base_lr"] * one_cycle(step / steps, rise=0.1)
        rows = torch.from_numpy(stream.indices(step))
        optimiser.zero_grad()
        toy.train()
        toy.total(images[rows], labels[rows], step / steps).backward()
        optimiser.step()
        bar.update()


def told(frame, labels):
    """(mean angle within, least angle between, in degrees; distance within over distance between)."""
    x = frame.features
    means = np.stack([x[labels == person].mean(0) for person in range(PERSONS)])
    directions = np.arctan2(means[:, 1], means[:, 0])
    turned = np.arctan2(x[:, 1], x[:, 0]) - directions[labels]
    within = np.abs((turned + np.pi) % (2 * np.pi) - np.pi).mean()
    gaps = np.diff(np.sort(directions), append=directions.min() + 2 * np.pi)
    apart = np.linalg.norm(means[:, None] - means[None], axis=2)
    ratio = np.linalg.norm(x - means[labels], axis=1).mean() / apart[~np.eye(PERSONS, dtype=bool)].mean()
    return *np.degrees((within, gaps.min())), ratio


def line(name, frame, labels):
    within, least, ratio = told(frame, labels)
    return (
        f"{name:22} right {100 * frame.right:5.1f} %; angle within {within:4.1f}, least between {least:4.1f} degrees; "
        f"distance within / between {ratio:.3f}"
    )


def chosen(frames, begun, wanted):
    """name -> its frames at the wanted steps, with the step at which ArcFace began in its name."""
    names = {"ArcFace": f"ArcFace\n(softmax to step {begun})" if begun else "ArcFace"}
    return {names.get(name, name): [by_step[step] for step in wanted] for name, by_step in frames.items()}


def parsed():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument(
        "--images", type=int, default=120, help="of a person, to train on; a third as many are held out"
    )
    parser.add_argument("--soft", type=float, default=0.25, help="share of ArcFace's training that is plain softmax")
    parser.add_argument("--seed", type=int, default=0, help="of the network's start and the batches")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--to", type=Path, help="a PNG file")
    parser.add_argument("--gif", type=Path, help="a GIF file: the training as a film")
    return parser.parse_args()


def main():
    arguments = parsed()
    torch.set_num_threads(arguments.threads)
    steps, count = arguments.steps, arguments.images
    begun = round(arguments.soft * steps)
    train, held_out = drawn(range(1, count + 1)), drawn(range(count + 1, count + 1 + count // 3))
    labels, faces = held_out[1].numpy(), [picture(person, 1) for person in range(PERSONS)]
    shown = sorted({round(steps * share) for share in SHOWN})
    film = sorted({round(steps * (index / (FILM - 1)) ** 2) for index in range(FILM)}) if arguments.gif else []
    frames = {}
    for name, make in LOSSES.items():
        torch.manual_seed(arguments.seed)  # the same start for all
        with tqdm(total=steps, desc=name, leave=False, dynamic_ncols=True, disable=None) as bar:
            frames[name] = trained(make(arguments.soft), train, held_out, steps, {*shown, *film}, arguments.seed, bar)
        print(line(name, frames[name][steps], labels), flush=True)
    if arguments.to:
        figure = identity_charts.feature_frames(chosen(frames, begun, shown), labels, faces)
        figure.savefig(arguments.to, dpi=72)
        print(arguments.to)
    if arguments.gif:
        pictures = identity_charts.feature_film(chosen(frames, begun, film), labels, faces)
        pictures.save(arguments.gif, writer="pillow", dpi=70)
        print(arguments.gif)


if __name__ == "__main__":
    main()
