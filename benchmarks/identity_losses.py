"""What each identity loss costs a training step beside plain softmax, as the number of identities grows.

    python benchmarks/identity_losses.py                                  # 751, 10,000 and 100,000 identities: about four minutes
    python benchmarks/identity_losses.py --identities 751 --device cuda

The network aside, a step is the loss of given features (64 of 256 numbers, 4 of each person), its backward pass with the
features' gradient, and Adam over the class weights. Terms that are added stand beside softmax. All losses in conf/loss/ with
their papers' options, but for VPL's warm-up, which is over. The least of steps that all losses take in turns, by CPU seconds of
all threads too, which a busy machine changes less.
"""

import argparse
import time
from pathlib import Path

import torch
import yaml
from torch import nn
from tqdm import tqdm

from pipelines import build
from reid_da.learner import adam

CONF = Path(__file__).resolve().parents[1] / "conf" / "loss"
CHANGED = {"vpl": {"warm_up": 0}}


def block(name: str) -> dict:
    """The options of a loss or a term."""
    return yaml.safe_load((CONF / f"{name}.yaml").read_text()) | CHANGED.get(name, {})


def names() -> list[str]:
    """Softmax first, then the other losses, then the terms beside softmax."""
    found = sorted((path.stem for path in CONF.glob("*.yaml")), key=lambda name: (name != "softmax", name))
    alone = [name for name in found if hasattr(build.resolve(block(name)["_target_"]), "feature")]
    return alone + [f"softmax + {name}" for name in found if name not in alone]


class Classifier(nn.Module):
    """A loss of conf/loss, or "softmax + term"."""

    def __init__(self, name: str, num_features: int, identities: int):
        super().__init__()
        loss, _, added = name.partition(" + ")
        self.loss = build.build(block(loss), num_features, identities)
        self.added = build.build(block(added), num_features, identities) if added else None

    def forward(self, features, labels):
        total = self.loss(features, labels)
        return total + self.added.weight * self.added(features, labels) if self.added else total


def stepper(name: str, features: torch.Tensor, labels: torch.Tensor, identities: int):
    """A function that takes a step and tells its clocks at the beginning, after the backward pass, and at the end."""
    torch.manual_seed(0)
    classifier = Classifier(name, features.shape[1], identities).to(features.device)
    optimiser = adam({"new": list(classifier.parameters())}, {"new": 1e-3})
    features = features.clone().requires_grad_()

    def step():
        times = [clocks(features.device)]
        optimiser.zero_grad()
        classifier(features, labels).backward()
        times.append(clocks(features.device))
        optimiser.step()
        return torch.tensor([*times, clocks(features.device)], dtype=torch.float64)

    return step


def clocks(device) -> tuple[float, float]:
    """Seconds, and CPU seconds."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def measured(identities: int, arguments, bar) -> dict[str, torch.Tensor]:
    """Name -> [[seconds, CPU seconds] of loss and backward pass, of Adam], softmax first."""
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(arguments.batch, arguments.features, generator=draw).to(arguments.device)
    labels = torch.randint(identities, (arguments.batch // 4,), generator=draw).repeat_interleave(4)
    steps = {name: stepper(name, features, labels.to(arguments.device), identities) for name in names()}
    found = {name: [] for name in steps}
    for _ in range(arguments.turns + 1):  # one to warm up
        for name, step in steps.items():
            found[name].append(step().diff(dim=0))
            bar.update()
    return {name: torch.stack(taken[1:]).amin(0) for name, taken in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--identities", type=int, nargs="+", default=[751, 10_000, 100_000])
    for name, default in (("batch", 64), ("features", 256), ("turns", 15), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tqdm(total=len(arguments.identities) * len(names()) * (arguments.turns + 1), unit="step") as bar:
        tables = [measured(identities, arguments, bar) for identities in arguments.identities]
    print(f"{arguments.batch} features of {arguments.features}, {arguments.device}, least of {arguments.turns}")
    print(f"{'':<22}" + "".join(f"{f'{n:,} identities':>30}" for n in arguments.identities))
    print(f"{'':<22}" + f"{'ms':>10}{'in softmaxes':>13}{'CPU s':>7}" * len(tables))
    for name in tables[0]:
        line = f"{name:<22}"
        for table in tables:
            loss, plain = table[name][0], table["softmax"][0]
            line += f"{1000 * loss[0]:10.2f}{loss[0] / plain[0]:13.2f}{loss[1] / plain[1]:7.2f}"
        print(line)
    print(f"{'Adam, after any':<22}" + "".join(f"{1000 * table['softmax'][1, 0]:10.2f}{'':20}" for table in tables))


if __name__ == "__main__":
    main()
