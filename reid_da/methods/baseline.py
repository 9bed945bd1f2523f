"""Source only: identities of the source learned by softmax, then used on the target as they are (HHL's baseline.py).

    L = L_S                     cross-entropy on source identities

Also the stage `pretrain` of the quick recipe, and the network that HHL adds a branch to.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from reid_da.backbones import Backbone, pool
from reid_da.identity_losses.softmax import Softmax
from reid_da.images import ImageStore
from reid_da.methods.identity import identity_terms, new_losses, take_over
from reid_da.sampling import PK, Draw, Shuffled
from reid_da.transfer import to_device


def dropout(x: torch.Tensor, p: float, draw: Draw, purpose: str) -> torch.Tensor:
    """Dropout whose mask is drawn for the global batch (sampling.draws): the same on 1 or N ranks. x: (B, D)."""
    if not p:
        return x
    keep = to_device(draw(purpose, tuple(x.shape)) >= p, x.device)
    return x * keep / (1 - p)


def neck(num_features: int) -> nn.BatchNorm1d:
    """BNNeck (Luo et al., Bag of Tricks, CVPR workshops 2019): BatchNorm whose shift stays 0."""
    norm = nn.BatchNorm1d(num_features)
    norm.bias.requires_grad = False
    return norm


def check_shares(**options: float) -> None:
    """Refuse an option that is a share of something and lies outside [0, 1)."""
    for name, value in options.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name} is {value}; expected 0 (none) to below 1, such as 0.1")


class Baseline(nn.Module):
    """Backbone, embedding FC + BN + ReLU, dropout, classifier.

    Args:
        backbone: the trunk. num_persons: source identities.
        embedding: width of the FC layer (1024). batch: global batch of the cross-entropy. dropout: probability.
        label_smoothing: e in [0, 1); the cross-entropy's target is (1 - e) one-hot + e / num_persons (Szegedy et al. 2016).
        identity_loss, added: makers of the loss and of a term added to it (identity_losses): maker(features, persons).
        bn_neck: pooled features pass a BatchNorm without shift before the embedding, and at test time (Luo et al. 2019, who have
            no embedding layer after it).
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_persons: int,
        embedding: int = 1024,
        batch: int = 128,
        dropout: float = 0.5,
        label_smoothing: float = 0.0,
        bn_neck: bool = False,
        identity_loss: Callable[..., nn.Module] = Softmax,
        added: Callable[..., nn.Module] | None = None,
    ):
        super().__init__()
        check_shares(label_smoothing=label_smoothing, dropout=dropout)
        self.backbone, self.batch, self.dropout = backbone, batch, dropout
        self.neck = neck(backbone.num_features) if bn_neck else nn.Identity()
        self.embedding = nn.Sequential(
            nn.Linear(backbone.num_features, embedding), nn.BatchNorm1d(embedding), nn.ReLU()
        )
        nn.init.kaiming_normal_(self.embedding[0].weight, mode="fan_out")
        nn.init.zeros_(self.embedding[0].bias)
        self.classifier, self.added = new_losses(identity_loss, added, embedding, num_persons, label_smoothing)
        self.weights = {"loss/added": self.added.weight} if self.added else {}
        if self.added and (each := self.added.images_per_person) and batch % each:
            raise ValueError(f"batch is {batch} and images_per_person {each}; expected a batch of whole persons")

    @staticmethod
    def inputs(label_smoothing: float = 0.0, dropout: float = 0.5, **options) -> tuple[str, ...]:
        """What training takes beside the source, of "target", "styles" and "clusters". Raises ValueError for bad options."""
        check_shares(label_smoothing=label_smoothing, dropout=dropout)
        return ()

    def streams(self, source: ImageStore, seed: int) -> dict[str, tuple]:
        """Stream name -> (store, index stream)."""
        if self.added and (each := self.added.images_per_person):
            stream = PK(source.labels, self.batch // each, each, seed=seed, name="source")
        else:
            stream = Shuffled(len(source), self.batch, seed=seed, name="source")
        return {"source": (source, stream)}

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """base: the pre-trained trunk; new: what starts from random weights."""
        return {
            "base": list(self.backbone.parameters()),
            "new": [*self.neck.parameters(), *self.embedding.parameters(), *self.classifier.parameters()],
        }

    def start_from(self, baseline: dict[str, torch.Tensor]) -> None:
        """Take over a trained baseline's weights, its classifier's where both have one loss. Raises ValueError for other sizes."""
        own, baseline = self.state_dict(), take_over(self, baseline)
        for name, weights in baseline.items():
            if name in own and own[name].shape != weights.shape:
                found = f"{name} is {tuple(own[name].shape)}, in the baseline it starts from {tuple(weights.shape)}"
                raise ValueError(f"{found}: give both the same sizes (embedding, backbone)")
        missing, unexpected = self.load_state_dict(baseline, strict=False)
        if any(name.startswith("neck.") for name in unexpected):
            raise ValueError(
                "the baseline it starts from has a bn_neck and this model has none: give both the same bn_neck"
            )
        shared = ("backbone.", "embedding.")  # what a subclass adds stays as it is
        assert not unexpected and not any(name.startswith(shared) for name in missing), (missing, unexpected)

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, D) L2-normalised pooled features: what is compared at test time."""
        return F.normalize(self.neck(pool(self.backbone(images))))

    def hidden(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, embedding) after FC, BN, ReLU and before dropout."""
        return self.embedding(self.neck(pool(self.backbone(images))))

    def identity_terms(self, batch: dict) -> dict[str, torch.Tensor]:
        """L_S of the source stream's identities, and what is added to it."""
        linear, norm, relu = self.embedding
        embedding = norm(linear(self.neck(pool(self.backbone(batch["source"]["images"])))))
        hidden = partial(dropout, p=self.dropout, draw=batch["draw"], purpose="source/dropout")
        return identity_terms(
            self, "loss/source", embedding, lambda: hidden(relu(embedding)), batch["source"]["labels"]
        )

    def parts(self, batch: dict) -> Iterator[dict[str, torch.Tensor]]:
        """The batch's terms in groups that share no graph: each can go backward before the next one is computed."""
        yield self.identity_terms(batch)

    def forward(self, batch: dict) -> dict[str, torch.Tensor]:
        """All terms of the batch."""
        return {name: term for part in self.parts(batch) for name, term in part.items()}
