"""FTL: feature transfer learning for under-represented identities (Yin, Yu, Sohn, Liu, Chandraker; CVPR 2019). Source only.

    L = L_softmax + alpha_rec |x' - x|^2 + alpha_reg |W^T f|^2

g = Enc(x)          rich feature: the trunk's, pooled; x' = Dec(g)
f = R(g)            feature of identity: compared, used at test time; logits W^T f, no bias
c, Q                centres of g, and the leading directions of the spread about them that regular identities share

First all is trained (pre-training), then two stages by turns. Stage 1 reshapes the decision boundary: Enc and Dec stay as they
are, c and Q are taken anew, and R and W learn from three batches in turn: regular identities, under-represented ones, and
regular images' deviations put onto under-represented centres, c_u + Q Q^T (g - c). Stage 2 makes features compact: W and Dec
stay, Enc and R learn.

Known from notes on the paper; the coefficients (1, 0.25), 150 directions and 20 images are from memory of it.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from reid_da import distributed
from reid_da.augment import normalise, signed
from reid_da.backbones import Backbone, pool
from reid_da.coders import FilterNetwork, VectorDecoder
from reid_da.distances import at_least_float32
from reid_da.feature_transfer import leading_directions, sums_by_label, transferred
from reid_da.images import ImageStore
from reid_da.losses import reconstruction
from reid_da.methods.ftl_options import check, check_map, under_represented
from reid_da.sampling import Alternating
from reid_da.transfer import to_device


class FTL(nn.Module):
    """Which step does what is the step's alone (sampling.Alternating); the store that c and Q are of comes in by `streams`.

    Args:
        backbone: Enc, with pooling. num_persons: source identities. batch: global batch of every kind.
        under: identities with fewer images than that are under-represented. directions: columns of Q.
        pretrain_share: of the training's length, before the stages. period: steps of one stage.
        weight_rec: alpha_rec, of the mean over pixels and channels of images in [-1, 1]. weight_reg: alpha_reg, of the sum over
            classes, mean over images.
        map_size: height and width of the trunk's maps, with which Dec starts, decoder_width channels wide.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_persons: int,
        batch: int = 128,
        under: int = 20,
        directions: int = 150,
        pretrain_share: float = 0.5,
        period: int = 100,
        weight_rec: float = 1.0,
        weight_reg: float = 0.25,
        map_size: tuple[int, int] = (8, 4),
        decoder_width: int = 512,
    ):
        super().__init__()
        check(**locals())  # which passes over names that are no options
        size = backbone.num_features
        if directions > size:
            raise ValueError(
                f"ftl.directions is {directions}; expected 1 to {size}, the number of the trunk's features"
            )
        self.backbone = backbone
        self.decoder = VectorDecoder(size, decoder_width, tuple(map_size), backbone.total_stride)
        self.filter = FilterNetwork(size)
        self.classifier = nn.Linear(size, num_persons, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)
        self.register_buffer("centres", torch.zeros(num_persons, size))
        self.register_buffer("directions", torch.zeros(size, directions))
        self.batch, self.under, self.map_size = batch, under, tuple(map_size)
        self.pretrain_share, self.period = pretrain_share, period
        self.weights = {"loss/rec": weight_rec, "loss/reg": weight_reg}
        self.turns: Alternating | None = None  # without a source all steps are of pre-training

    @staticmethod
    def inputs(**options) -> tuple[str, ...]:
        """As Baseline.inputs, and the training's length, "steps". Raises ValueError for options out of range."""
        check(**options)
        return ("steps",)

    def streams(self, source: ImageStore, seed: int, steps: int) -> dict[str, tuple]:
        """Raises ValueError where the source has no persons with few images or none with many, or images of another size."""
        check(pretrain_share=self.pretrain_share, period=self.period, steps=steps)
        check_map(source.images.shape[1:3], self.map_size, self.backbone.total_stride)
        few = under_represented(source.labels, self.under)
        self.source, self.few = source, torch.from_numpy(few)
        start = round(self.pretrain_share * steps)
        given = {"start": start, "period": self.period, "seed": seed, "name": "source"}
        self.turns = Alternating(few[source.labels], self.batch, **given)
        return {"source": (source, self.turns)}

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """base: the pre-trained trunk; new: what starts from random weights."""
        new = (self.decoder, self.filter, self.classifier)
        return {"base": list(self.backbone.parameters()), "new": [p for part in new for p in part.parameters()]}

    def start_from(self, baseline: dict[str, torch.Tensor]) -> None:
        """Take over a trained baseline's trunk."""
        trunk = {k.removeprefix("backbone."): v for k, v in baseline.items() if k.startswith("backbone.")}
        self.backbone.load_state_dict(trunk)

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, D) L2-normalised f: what is compared at test time."""
        return F.normalize(self.filter(self.rich(images)))

    def rich(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, D), g = Enc(x)."""
        return pool(self.backbone(images))

    @torch.no_grad()
    def with_flips(self, store: ImageStore, rows: np.ndarray, batch_size: int = 256) -> torch.Tensor:
        """(len(rows), 2, D) in float64 on the CPU: g of these images and of their flips, in evaluation mode, which stays."""
        self.backbone.eval()
        weight, found = self.classifier.weight, []
        for part in np.split(rows, range(batch_size, len(rows), batch_size)):
            images = normalise(to_device(torch.from_numpy(np.array(store.images[part])), weight.device)).to(
                weight.dtype
            )
            with torch.autocast(weight.device.type, enabled=False):
                both = torch.stack([self.rich(images), self.rich(images.flip(3))], dim=1)
            found.append(both.double().cpu())
        return torch.cat(found)

    @torch.no_grad()
    def refresh(self) -> None:
        """c and Q of all the source's images and their flips, by the trunk as it is now; the same on every rank."""
        rows = np.array_split(np.arange(len(self.source)), distributed.world())[distributed.rank()]
        features, labels = self.with_flips(self.source, rows), torch.from_numpy(self.source.labels)
        counts, labels = torch.bincount(labels), labels[torch.from_numpy(rows)]
        sums = distributed.gather_uneven(sums_by_label(features.sum(1), labels, len(counts))[None]).sum(0)
        centres = sums / (2 * counts[:, None])
        deviations = (features[:, 0] - centres[labels])[~self.few[labels]]
        spread = distributed.gather_uneven((deviations.T @ deviations)[None]).sum(0) / counts[~self.few].sum()
        count = self.directions.shape[1]
        directions = distributed.of_first(lambda: leading_directions(spread, count))  # another CPU's may differ
        self.centres.copy_(centres)
        self.directions.copy_(directions)

    def _transferred(self, g: torch.Tensor, labels: torch.Tensor, draw) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch's deviations put onto centres of under-represented identities, drawn anew for each, and these identities."""
        few = torch.nonzero(self.few)[:, 0]
        chosen = few[(draw("source/under", (len(g),)) * len(few)).long().clamp(max=len(few) - 1)]
        chosen = to_device(chosen, g.device)
        return transferred(self.centres[chosen], g - self.centres[labels], self.directions), chosen

    def _identity_terms(self, g: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor, kind: str) -> dict:
        logits = at_least_float32(F.linear(self.filter(g), weight))
        return {f"loss/softmax_{kind}": F.cross_entropy(logits, labels), "loss/reg": logits.square().sum(1).mean()}

    def parts(self, batch: dict) -> Iterator[dict[str, torch.Tensor]]:
        """All terms at once. What a stage leaves alone has no gradient, so that the optimiser passes over it."""
        images, labels = batch["source"]["images"], batch["source"]["labels"]
        kind = self.turns.turn(batch["step"])[0] if self.turns else "whole"
        weight = self.classifier.weight
        if kind in Alternating.STAGE_1:
            if self.turns.opens(batch["step"]):
                self.refresh()
            self.backbone.eval()  # its running statistics stay, too
            with torch.no_grad():
                g = self.rich(images)
            if kind == "transferred":
                g, labels = self._transferred(g, labels, batch["draw"])
            yield self._identity_terms(g, labels, weight, kind)
            return
        compact = kind == "compact"
        self.decoder.requires_grad_(not compact).train(not compact)
        g = self.rich(images)
        weight = weight.detach() if compact else weight
        rec = {"loss/rec": reconstruction(self.decoder(g), signed(images))} if self.weights["loss/rec"] else {}
        yield self._identity_terms(g, labels, weight, kind) | rec

    def forward(self, batch: dict) -> dict[str, torch.Tensor]:
        """All terms of the batch."""
        return {name: term for part in self.parts(batch) for name, term in part.items()}
