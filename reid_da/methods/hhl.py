"""HHL: generalising a person retrieval model hetero- and homogeneously (Zhong, Zheng, Li, Yang; ECCV 2018).

    L = L_S + beta * L_CD

L_S: cross-entropy on source identities. L_CD: ONE batch-hard triplet loss over source identities (P x K) and n_t target images
with their K camera-styled copies. An image and its copies share a pseudo identity of their own, so a positive pair of the
target asks for camera invariance (L_C), and a source-target pair is always negative: domain connectedness (L_D).
"""

import numpy as np
import torch
from torch import nn

from reid_da import distributed
from reid_da.backbones import Backbone
from reid_da.images import ImageStore, StyledStore
from reid_da.losses import batch_hard_triplet
from reid_da.methods.baseline import Baseline
from reid_da.sampling import PK, Shuffled

STYLES = ("generator", "copies", "jitter", "redrawn")


def check_jitter(strength) -> None:
    """Refuse what augment.colour_jitter does not take."""
    numbers = isinstance(strength, list | tuple) and all(isinstance(value, int | float) for value in strength)
    if not numbers or len(strength) != 4 or min(strength) < 0 or strength[3] > 0.5:
        raise ValueError(
            f"hhl.jitter is {strength}; expected brightness, contrast, saturation (each at least 0) and hue (0 to 0.5 turns), "
            "such as [0.15,0.15,0.1,0.1]"
        )


class HHL(Baseline):
    """The baseline's network and a triplet branch: FC after ReLU, before dropout, not normalised.

    Args:
        beta: weight of the triplet loss, >= 0. n_t: real target images a step, >= 0; 0 leaves +L_T and needs no styles.
        margin: of the triplet loss. persons, images_per_person: P and K of the source triplet batch.
        triplet_features: width of the branch (128); triplet_std: its initial deviation. The typical distance at the
            start must be near the margin.
        styles: what a target image's K copies are: "generator" or "redrawn" (given to `streams`), "jitter" (too: ordinary
            colour jitter), or "copies", the image itself K times, so that crop and flip alone tell them apart.
        freeze_embedding: leave embedding and triplet layers at their random start, as the released code does (its
            optimiser never sees them); false trains them, as the paper says.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_persons: int,
        beta: float = 0.5,
        n_t: int = 16,
        margin: float = 0.3,
        persons: int = 8,
        images_per_person: int = 8,
        triplet_features: int = 128,
        triplet_std: float = 0.001,
        styles: str = "generator",
        freeze_embedding: bool = True,
        **baseline,
    ):
        super().__init__(backbone, num_persons=num_persons, **baseline)
        self.inputs(n_t=n_t, beta=beta, styles=styles)
        self.weights = {"loss/triplet": beta}
        self.n_t, self.margin, self.persons, self.images_per_person = n_t, margin, persons, images_per_person
        self.triplet = nn.Linear(self.classifier.in_features, triplet_features)
        nn.init.normal_(self.triplet.weight, std=triplet_std)
        nn.init.zeros_(self.triplet.bias)
        for parameter in (*self.embedding.parameters(), *self.triplet.parameters()):
            parameter.requires_grad = not freeze_embedding

    @staticmethod
    def inputs(n_t: int = 16, beta: float = 0.5, styles: str = "generator", **options) -> tuple[str, ...]:
        """As Baseline.inputs; none for n_t = 0. Raises ValueError for a negative beta or n_t, or an unknown kind of styles."""
        if beta < 0 or n_t < 0:
            raise ValueError(
                f"hhl.beta is {beta} and hhl.n_t is {n_t}; expected both at least 0 (n_t 0: no target images)"
            )
        if styles not in STYLES:
            raise ValueError(f"hhl.styles is {styles}; expected one of {', '.join(STYLES)}")
        if styles == "jitter":
            check_jitter(options.get("jitter", (0, 0, 0, 0)))
        if not n_t:
            return ()
        return ("target",) if styles == "copies" else ("target", "styles")

    def streams(
        self, source: ImageStore, seed: int, target: ImageStore | None = None, styles: np.ndarray | None = None
    ):
        """CE, P x K and - for n_t > 0 - target streams, in the order of the passes. styles: (N, K, H, W, 3); None: copies."""
        streams = super().streams(source, seed)
        pk = PK(source.labels, self.persons, self.images_per_person, seed=seed, name="triplet")
        streams["triplet"] = (source, pk)
        if self.n_t:
            if styles is None:
                shape = (len(target), target.num_cameras, *target.images.shape[1:])
                styles = np.broadcast_to(target.images[:, None], shape)
            styled = StyledStore(target, styles, first_label=source.num_persons)
            streams["target"] = (styled, Shuffled(len(target), self.n_t, seed=seed, name="target"))
        return streams

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        groups = super().parameter_groups()
        groups["new"] += self.triplet.parameters()
        return groups

    def forward(self, batch: dict) -> dict[str, torch.Tensor]:
        """Three passes in the authors' order: each normalises its own batch, and running statistics see them in turn."""
        terms = {"loss/source": self.identity_loss(batch)}
        names = [name for name in ("triplet", "target") if name in batch]
        z = torch.cat([self.triplet(self.hidden(batch[name]["images"])) for name in names])
        labels = torch.cat([batch[name]["labels"] for name in names])
        # batch-hard is no mean over samples: it is mined over the rows of all ranks
        z, labels = distributed.gather(z), distributed.gather(labels)
        terms["loss/triplet"] = batch_hard_triplet(z, labels, self.margin)
        return terms
