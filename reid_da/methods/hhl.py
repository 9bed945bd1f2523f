"""HHL: generalising a person retrieval model hetero- and homogeneously (Zhong, Zheng, Li, Yang; ECCV 2018).

    L = L_S + beta * L_CD, or L_T, L_D, L_C in its place

L_S: cross-entropy on source identities. L_CD: ONE batch-hard triplet loss over source identities (P x K) and n_t target images
with their K camera-styled copies. An image and its copies share a pseudo identity of their own, so a positive pair of the
target asks for camera invariance (L_C), and a source-target pair is always negative: domain connectedness (L_D).
"""

from collections.abc import Iterator

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
LOSSES = ("L_T", "L_D", "L_C", "L_CD")
SAMPLING = ("random", "clustered", "supervised")


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
        losses: what the triplet loss is taken over: "L_T" the source (as n_t = 0), "L_D" source and the n_t real target
            images, which have no positive and so are no anchors, "L_C" the target images and their copies, "L_CD" all.
        sampling: of the target images: "random"; "clustered", one of each of n_t clusters of the baseline's features; or
            "supervised", each of another person, which takes target labels and is for analysis only (the paper's Fig. 3).
        margin: of the triplet loss; soft_margin: log(1 + exp(.)) in the hinge's place, without margin.
        persons, images_per_person: P and K of the source triplet batch. triplet_features: width of the branch (128);
            triplet_std: its initial deviation. The typical distance at the start must be near the margin.
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
        losses: str = "L_CD",
        sampling: str = "random",
        soft_margin: bool = False,
        **baseline,
    ):
        super().__init__(backbone, num_persons=num_persons, **baseline)
        sizes = {"persons": persons, "images_per_person": images_per_person}
        self.inputs(n_t=n_t, beta=beta, styles=styles, losses=losses, sampling=sampling, margin=margin, **sizes)
        self.weights |= {"loss/triplet": beta}
        self.styles, self.losses, self.sampling, self.soft_margin = styles, losses, sampling, soft_margin
        self.n_t = 0 if losses == "L_T" else n_t
        self.margin, self.persons, self.images_per_person = margin, persons, images_per_person
        self.triplet = nn.Linear(self.embedding[0].out_features, triplet_features)
        nn.init.normal_(self.triplet.weight, std=triplet_std)
        nn.init.zeros_(self.triplet.bias)
        for parameter in (*self.embedding.parameters(), *self.triplet.parameters()):
            parameter.requires_grad = not freeze_embedding

    @staticmethod
    def inputs(
        n_t: int = 16,
        beta: float = 0.5,
        styles: str = "generator",
        losses: str = "L_CD",
        sampling: str = "random",
        margin: float = 0.3,
        persons: int = 8,
        images_per_person: int = 8,
        **options,
    ) -> tuple[str, ...]:
        """As Baseline.inputs, and "clusters" (of the target's images) where it samples from them; none for n_t = 0.

        Raises:
            ValueError: a negative beta, n_t or margin, an unknown name, L_C with fewer than two target images, a source alone of
                one person, or L_D with one image of each.
        """
        Baseline.inputs(**options)
        if beta < 0 or n_t < 0:
            raise ValueError(
                f"hhl.beta is {beta} and hhl.n_t is {n_t}; expected both at least 0 (n_t 0: no target images)"
            )
        if margin < 0:
            raise ValueError(f"hhl.margin is {margin}; expected at least 0")
        for name, value, known in (
            ("styles", styles, STYLES),
            ("losses", losses, LOSSES),
            ("sampling", sampling, SAMPLING),
        ):
            if value not in known:
                raise ValueError(f"hhl.{name} is {value}; expected one of {', '.join(known)}")
        if styles == "jitter":
            check_jitter(options.get("jitter", (0, 0, 0, 0)))
        if losses == "L_C" and n_t < 2:
            raise ValueError(
                f"hhl.losses=L_C is taken over target images alone, which are each other's negatives, and hhl.n_t is {n_t}; "
                "expected n_t at least 2"
            )
        alone = not n_t or losses == "L_T"
        if alone and persons < 2:
            raise ValueError(
                f"hhl.persons is {persons}, and the triplet loss is taken over the source alone, where other persons are the "
                "negatives; expected at least 2"
            )
        if losses == "L_D" and images_per_person < 2:
            raise ValueError(
                f"hhl.images_per_person is {images_per_person}, and no image of hhl.losses=L_D has a positive then; "
                "expected at least 2"
            )
        if alone:
            return ()
        needs = ["target"]
        if styles != "copies" and losses != "L_D":
            needs.append("styles")
        if sampling == "clustered":
            needs.append("clusters")
        return tuple(needs)

    def streams(
        self,
        source: ImageStore,
        seed: int,
        target: ImageStore | None = None,
        styles: np.ndarray | None = None,
        clusters: np.ndarray | None = None,
    ) -> dict[str, tuple]:
        """CE and, as the losses need them, P x K and target streams, in the order of the passes.

        styles: (N, K, H, W, 3); None: copies. clusters: (N,) int, of the target's images, for sampling=clustered.
        """
        streams = super().streams(source, seed)
        if self.losses != "L_C":
            pk = PK(source.labels, self.persons, self.images_per_person, seed=seed, name="triplet")
            streams["triplet"] = (source, pk)
        if self.n_t:
            # a generator's pictures are of one size, whatever the image's was
            size = styles.shape[3:1:-1] if styles is not None and self.styles == "generator" else None
            if styles is None:
                copies = 0 if self.losses == "L_D" else target.num_cameras
                shape = (len(target), copies, *target.images.shape[1:])
                styles = np.broadcast_to(target.images[:, None], shape)
            styled = StyledStore(target, styles, first_label=source.num_persons, size=size)
            if self.sampling == "random":
                chosen = Shuffled(len(target), self.n_t, seed=seed, name="target")
            else:
                groups = target.labels if self.sampling == "supervised" else clusters
                chosen = PK(groups, self.n_t, 1, seed=seed, name="target")
            streams["target"] = (styled, chosen)
        return streams

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        groups = super().parameter_groups()
        groups["new"] += self.triplet.parameters()
        return groups

    def parts(self, batch: dict) -> Iterator[dict[str, torch.Tensor]]:
        """Three passes in the authors' order: each normalises its own batch, and running statistics see them in turn.

        The cross-entropy's graph is complete, and may go, before the two passes of the triplet loss, which share one.
        """
        yield self.identity_terms(batch)
        names = [name for name in ("triplet", "target") if name in batch]
        z = torch.cat([self.triplet(self.hidden(batch[name]["images"])) for name in names])
        labels = torch.cat([batch[name]["labels"] for name in names])
        # batch-hard is no mean over samples: it is mined over the rows of all ranks
        z, labels = distributed.gather(z), distributed.gather(labels)
        # a target image of L_D has no positive but itself: there it is no anchor
        anchors = (labels[:, None] == labels[None, :]).sum(1) > 1 if self.losses == "L_D" else None
        yield {"loss/triplet": batch_hard_triplet(z, labels, self.margin, soft=self.soft_margin, anchors=anchors)}
