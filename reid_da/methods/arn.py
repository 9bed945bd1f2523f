"""ARN: adaptation and re-identification network (Li, Yang, Liu, Yeh, Du, Wang; CVPR workshops 2018).

L = L_class + alpha L_ctrs + beta L_rec + gamma L_diff

x = E_I(image)                       shared lower layers
c = E_C(x)                           what the domains share: classified, compared, used at test time
p = E_S(x) source, E_T(x) target     what is private to a domain
L_rec  = |x - D_C(c + p)|^2, source and target; L_diff = |C^T P|_F^2, source and target; target labels are never used.
"""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from reid_da import distributed
from reid_da.backbones import Backbone, pool
from reid_da.images import ImageStore
from reid_da.losses import contrastive, difference, difference_weight, reconstruction
from reid_da.methods.baseline import dropout
from reid_da.sampling import PK, Shuffled


class Decoder(nn.Module):
    """D_C: from c + p back to x, at the level of features: up by layer4's stride, then two 3x3 convolutions."""

    def __init__(self, num_features: int, lower_features: int, stride: int):
        super().__init__()
        up = (
            nn.ConvTranspose2d(num_features, lower_features, 4, 2, 1)
            if stride == 2
            else nn.Conv2d(num_features, lower_features, 3, 1, 1)
        )
        self.layers = nn.Sequential(
            up,
            nn.BatchNorm2d(lower_features),
            nn.LeakyReLU(0.2),
            nn.Conv2d(lower_features, lower_features, 3, 1, 1),
            nn.BatchNorm2d(lower_features),
            nn.LeakyReLU(0.2),
            nn.Conv2d(lower_features, lower_features, 3, 1, 1),
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.layers(maps)


class ARN(nn.Module):
    """Encoders are copies of the trunk's layer4; the decoder's target carries no gradient.

    Args:
        persons, images_per_person: the source batch, P x K, so that L_ctrs has positive pairs.
        target_batch: target images a step. weight_ctrs, weight_rec, weight_diff: alpha, beta, gamma; gamma is the paper's, for
            16 rows of 2048 features, and is scaled to the sizes at hand (losses.difference_weight).
        margin: of L_ctrs. target_terms: false drops the target's stream, and with it its share of L_rec and L_diff.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_persons: int,
        persons: int = 4,
        images_per_person: int = 4,
        target_batch: int = 16,
        weight_ctrs: float = 0.01,
        weight_rec: float = 2.0,
        weight_diff: float = 1500.0,
        margin: float = 2.0,
        dropout: float = 0.5,
        target_terms: bool = True,
    ):
        super().__init__()
        size, lower = backbone.num_features, backbone.lower_features
        self.encoder_shared_lower = backbone.lower  # E_I
        self.encoder_common = backbone.layer4  # E_C
        self.encoder_source = copy.deepcopy(backbone.layer4)  # E_S
        self.encoder_target = copy.deepcopy(backbone.layer4) if target_terms else None  # E_T
        self.decoder = Decoder(size, lower, backbone.stride)  # D_C
        self.classifier = nn.Linear(size, num_persons)  # C_S
        nn.init.normal_(self.classifier.weight, std=0.001)
        nn.init.zeros_(self.classifier.bias)
        self.persons, self.images_per_person, self.target_batch = persons, images_per_person, target_batch
        self.margin, self.dropout, self.target_terms = margin, dropout, target_terms
        self.weights = {"loss/ctrs": weight_ctrs}
        for domain, rows in (("source", persons * images_per_person), ("target", target_batch)):
            self.weights[f"loss/rec_{domain}"] = weight_rec
            self.weights[f"loss/diff_{domain}"] = difference_weight(weight_diff, rows, size)

    @staticmethod
    def inputs(target_terms: bool = True, **options) -> tuple[str, ...]:
        return ("target",) if target_terms else ()

    def streams(self, source: ImageStore, seed: int, target: ImageStore | None = None) -> dict[str, tuple]:
        pk = PK(source.labels, self.persons, self.images_per_person, seed=seed, name="source")
        streams = {"source": (source, pk)}
        if self.target_terms:
            streams["target"] = (target, Shuffled(len(target), self.target_batch, seed=seed, name="target"))
        return streams

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """shared: E_I. encoders: E_C, E_S, E_T, D_C. classifier: C_S (the paper's three learning rates)."""
        encoders = [
            m for m in (self.encoder_common, self.encoder_source, self.encoder_target, self.decoder) if m is not None
        ]
        return {
            "shared": list(self.encoder_shared_lower.parameters()),
            "encoders": [p for module in encoders for p in module.parameters()],
            "classifier": list(self.classifier.parameters()),
        }

    def start_from(self, baseline: dict[str, torch.Tensor]) -> None:
        """Take over a trained baseline's trunk: E_I from its lower part, each encoder from its layer4."""

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {k.removeprefix(prefix): v for k, v in baseline.items() if k.startswith(prefix)}

        self.encoder_shared_lower.load_state_dict(part("backbone.lower."))
        for encoder in (self.encoder_common, self.encoder_source, self.encoder_target):
            if encoder is not None:
                encoder.load_state_dict(part("backbone.layer4."))

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, D) L2-normalised pooled E_C(E_I(image))."""
        return F.normalize(pool(self.encoder_common(self.encoder_shared_lower(images))))

    def forward(self, batch: dict) -> dict[str, torch.Tensor]:
        terms, shared = {}, {}
        private = {"source": self.encoder_source, "target": self.encoder_target}
        for domain in [name for name in ("source", "target") if name in batch]:
            x = self.encoder_shared_lower(batch[domain]["images"])
            c, p = self.encoder_common(x), private[domain](x)
            shared[domain] = pool(c)
            terms[f"loss/rec_{domain}"] = reconstruction(self.decoder(c + p), x)
            rows = (distributed.gather(pool(maps)) for maps in (c, p))
            terms[f"loss/diff_{domain}"] = difference(*rows)
        labels = batch["source"]["labels"]
        logits = self.classifier(dropout(shared["source"], self.dropout, batch["draw"], "source/dropout"))
        terms["loss/class"] = F.cross_entropy(logits, labels)
        terms["loss/ctrs"] = contrastive(distributed.gather(shared["source"]), distributed.gather(labels), self.margin)
        return terms
