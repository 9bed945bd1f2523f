"""What the benchmarks train: the quick and the published networks and batches, and one of next to no arithmetic."""

from functools import partial

from torch import nn

from reid_da.backbones import narrow_resnet, resnet50
from reid_da.learner import adam, one_cycle, sgd, step_decay
from reid_da.methods.arn import ARN
from reid_da.methods.baseline import Baseline
from reid_da.methods.hhl import HHL

QUICK = {
    "size": (64, 32),
    "backbone": narrow_resnet,
    "optimiser": partial(adam, lr=dict.fromkeys(("base", "new", "shared", "encoders", "classifier"), 3e-3)),
    "schedule": one_cycle,
    "baseline": {"batch": 64, "embedding": 256},
    "hhl": {"batch": 64, "embedding": 256, "n_t": 8, "persons": 8, "images_per_person": 4, "freeze_embedding": False},
    "arn": {"persons": 16, "images_per_person": 4, "target_batch": 32, "dropout": 0.0},
}
PAPER = {
    "size": (256, 128),
    "backbone": partial(resnet50, weights=None),
    "optimiser": partial(sgd, lr={"base": 1e-2, "new": 1e-1, "shared": 1e-7, "encoders": 1e-3, "classifier": 2e-3}),
    "schedule": step_decay,
    "baseline": {},
    "hhl": {"freeze_embedding": False},
    "arn": {},
}


def thin_resnet50():
    """All layers of ResNet-50 with a sixteenth of their channels: a step of it waits for the host, as on a large GPU."""

    def narrowed(module):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d):
                channels = (max(3, child.in_channels // 16), child.out_channels // 16)
                setattr(module, name, nn.Conv2d(*channels, child.kernel_size, child.stride, child.padding, bias=False))
            elif isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.BatchNorm2d(child.num_features // 16))
            else:
                narrowed(child)
        return module

    trunk = narrowed(resnet50(weights=None))
    trunk.lower_features, trunk.num_features = trunk.lower_features // 16, trunk.num_features // 16
    return trunk


THIN = PAPER | {
    "size": (64, 32),
    "backbone": thin_resnet50,
    "baseline": {"batch": 4, "embedding": 64},
    "hhl": {"batch": 4, "embedding": 64, "n_t": 1, "persons": 2, "images_per_person": 2, "freeze_embedding": False},
    "arn": {"persons": 2, "images_per_person": 2, "target_batch": 4},
}
RECIPES = {"quick": QUICK, "paper": PAPER, "thin": THIN}
METHODS = {"baseline": Baseline, "hhl": HHL, "arn": ARN}
