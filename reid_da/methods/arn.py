"""ARN: adaptation and re-identification network (Li, Yang, Liu, Yeh, Du, Wang; CVPR workshops 2018).

L = L_class + alpha L_ctrs + beta L_rec + gamma L_diff

x = E_I(image)                       shared lower layers
c = E_C(x)                           what the domains share: classified, compared, used at test time
p = E_S(x) source, E_T(x) target     what is private to a domain
L_rec  = mean of (x - D_C(c + p))^2 over batch and entries, source and target; L_diff = |C^T P|_F^2 / D^2 of normalised rows,
         source and target; target labels are never used.

Its paper's ablations leave out the identity terms (L_class, L_ctrs) or the private encoders, or both. Options add what the
released code has beside the paper: a decoder to the image, and an MMD term between the domains.
"""

import copy
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from reid_da import distributed
from reid_da.augment import signed
from reid_da.backbones import Backbone, pool
from reid_da.coders import FCNDecoder, FCNEncoder, FeatureDecoder, ImageDecoder
from reid_da.identity_losses.softmax import Softmax
from reid_da.images import ImageStore
from reid_da.losses import contrastive, difference, difference_weight, image_reconstruction, mmd, reconstruction
from reid_da.methods.arn_options import check
from reid_da.methods.baseline import dropout, neck
from reid_da.methods.identity import identity_terms, new_losses
from reid_da.sampling import PK, Draw, Shuffled


class ARN(nn.Module):
    """Encoders are copies of the trunk's layer4, or three FCN layers on top of it; the decoder's target carries no gradient.

    Args:
        persons, images_per_person: the source batch, P x K, so that L_ctrs has positive pairs.
        target_batch: target images a step. weight_ctrs, weight_rec, weight_diff: alpha, beta, gamma; gamma is the paper's, for
            16 rows of 2048 features, and is scaled to the sizes at hand (losses.difference_weight).
        margin: of L_ctrs, in |c_i - c_j|; the paper's is not known. Few pairs of 2048 features are nearer than 2, so that the
            term pulls and hardly pushes; the released code's hinge, 2 - |c_i - c_j|^2 / 2048, ends at 64.
        target_terms: false drops the target's stream, and with it its share of L_rec and L_diff.
        identity_terms: false drops L_class and L_ctrs; the classifier stays, untrained.
        private: false drops E_S, E_T and L_diff; the decoder takes c alone.
        freeze_shared: E_I stays as it started, its BatchNorm's statistics included (also where bn=target re-estimates others).
        encoder: "layer4", or "fcn" on maps of map_size, its inner layers fcn_width wide (None: 512, or
            x's channels where they are fewer); then E_I is the whole trunk, and `dropout` also follows those layers.
        decoder: "feature", back to x, or "image", to the augmented image; L_rec is then an L1 error.
        weight_mmd: of the MMD between the domains' pooled c; 0 leaves it out.
        label_smoothing: of L_class. bn_neck: a BatchNorm without bias between the pooled c and the classifier; L_ctrs sees
            what comes before it, and what comes after is used at test time (Luo et al. 2019, "Bag of Tricks").
        identity_loss, added: makers of L_class and of a term added to it (identity_losses): maker(features, persons). Their
            features are what the classifier sees, without dropout where the loss asks for the embedding; without bn_neck they are
            a ReLU's, none below 0, so that their angles are at most pi / 2.
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
        weight_mmd: float = 0.0,
        margin: float = 2.0,
        dropout: float = 0.5,
        target_terms: bool = True,
        identity_terms: bool = True,
        private: bool = True,
        freeze_shared: bool = False,
        encoder: str = "layer4",
        map_size: tuple[int, int] = (8, 4),
        fcn_width: int | None = None,
        decoder: str = "feature",
        label_smoothing: float = 0.0,
        bn_neck: bool = False,
        identity_loss: Callable[..., nn.Module] = Softmax,
        added: Callable[..., nn.Module] | None = None,
    ):
        super().__init__()
        check(**locals())  # which passes over names that are no options
        size = backbone.num_features
        fcn = (size, fcn_width or min(512, size), map_size) if encoder == "fcn" else None
        new = partial(FCNEncoder, *fcn) if fcn else partial(copy.deepcopy, backbone.layer4)
        self.encoder_shared_lower = backbone if fcn else backbone.lower  # E_I
        self.encoder_common = new()  # E_C
        self.encoder_source = new() if private else None  # E_S
        self.encoder_target = new() if private and target_terms else None  # E_T
        if decoder == "image":  # D_C
            self.decoder = ImageDecoder(size, backbone.total_stride)
        else:
            self.decoder = FCNDecoder(*fcn) if fcn else FeatureDecoder(size, backbone.lower_features, backbone.stride)
        self.classifier, self.added = new_losses(identity_loss, added, size, num_persons, label_smoothing)  # C_S
        self.neck = neck(size) if bn_neck else nn.Identity()
        self.encoder_shared_lower.requires_grad_(not freeze_shared)
        self.classifier.requires_grad_(identity_terms)
        self.persons, self.images_per_person, self.target_batch = persons, images_per_person, target_batch
        self.margin, self.dropout = margin, dropout
        self.target_terms, self.identity_terms = target_terms, identity_terms
        self.private, self.freeze_shared = private, freeze_shared
        self.weights = {"loss/ctrs": weight_ctrs} | ({"loss/mmd": weight_mmd} if weight_mmd else {})
        self.weights |= {"loss/added": self.added.weight} if self.added else {}
        for domain, rows in (("source", persons * images_per_person), ("target", target_batch)):
            self.weights[f"loss/rec_{domain}"] = weight_rec
            self.weights[f"loss/diff_{domain}"] = difference_weight(weight_diff, rows, size)

    @staticmethod
    def inputs(target_terms: bool = True, **options) -> tuple[str, ...]:
        """As Baseline.inputs. Raises ValueError for options out of range and for those that contradict each other."""
        check(target_terms=target_terms, **options)
        return ("target",) if target_terms else ()

    def streams(self, source: ImageStore, seed: int, target: ImageStore | None = None) -> dict[str, tuple]:
        pk = PK(source.labels, self.persons, self.images_per_person, seed=seed, name="source")
        streams = {"source": (source, pk)}
        if self.target_terms:
            streams["target"] = (target, Shuffled(len(target), self.target_batch, seed=seed, name="target"))
        return streams

    def train(self, mode: bool = True):
        """As nn.Module.train; a frozen E_I stays in evaluation mode, so that its running statistics stay, too."""
        super().train(mode)
        if self.freeze_shared:
            self.encoder_shared_lower.eval()
        return self

    def _encoders(self) -> list[nn.Module]:
        encoders = (self.encoder_common, self.encoder_source, self.encoder_target)
        return [encoder for encoder in encoders if encoder is not None]

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """shared: E_I. encoders: E_C, E_S, E_T, D_C. classifier: C_S and its neck (the paper's three learning rates)."""
        groups = {
            "shared": [self.encoder_shared_lower],
            "encoders": [*self._encoders(), self.decoder],
            "classifier": [self.classifier, self.neck],
        }
        return {name: [p for module in modules for p in module.parameters()] for name, modules in groups.items()}

    def start_from(self, baseline: dict[str, torch.Tensor]) -> None:
        """Take over a trained baseline's trunk: E_I from its lower part, encoders from its layer4; with FCN layers E_I from all."""

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {k.removeprefix(prefix): v for k, v in baseline.items() if k.startswith(prefix)}

        if isinstance(self.encoder_common, FCNEncoder):
            self.encoder_shared_lower.load_state_dict(part("backbone."))
            return
        self.encoder_shared_lower.load_state_dict(part("backbone.lower."))
        for encoder in self._encoders():
            encoder.load_state_dict(part("backbone.layer4."))

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, D) L2-normalised pooled E_C(E_I(image)), after the neck if there is one."""
        return F.normalize(self.neck(pool(self.encoder_common(self.encoder_shared_lower(images)))))

    def _encode(self, name: str, domain: str, x: torch.Tensor, draw: Draw) -> torch.Tensor:
        """The code of x, of this domain, by the encoder of that name. (B, C, h, w) -> (B, D, h', w')."""
        encoder = getattr(self, f"encoder_{name}")
        if not isinstance(encoder, FCNEncoder):
            return encoder(x)
        return encoder(x, lambda rows, layer: dropout(rows, self.dropout, draw, f"{domain}/{name}/{layer}"))

    def _domain_terms(self, domain: str, batch: dict) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """(B, D) pooled c of the domain's images, and its L_rec and L_diff."""
        images, terms = batch[domain]["images"], {}
        x = self.encoder_shared_lower(images)
        c = self._encode("common", domain, x, batch["draw"])
        p = self._encode(domain, domain, x, batch["draw"]) if self.private else None
        shared = pool(c)
        decoded = self.decoder(c + p if self.private else c)
        if isinstance(self.decoder, ImageDecoder):
            terms[f"loss/rec_{domain}"] = image_reconstruction(decoded, signed(images))
        else:
            terms[f"loss/rec_{domain}"] = reconstruction(decoded, x)
        if self.private:
            rows = (distributed.gather(pool(maps)) for maps in (c, p))
            terms[f"loss/diff_{domain}"] = difference(*rows)
        return shared, terms

    def _identity_terms(self, rows: torch.Tensor, batch: dict) -> dict[str, torch.Tensor]:
        labels, features = batch["source"]["labels"], self.neck(rows)
        terms = identity_terms(
            self,
            "loss/class",
            features,
            lambda: dropout(features, self.dropout, batch["draw"], "source/dropout"),
            labels,
        )
        return terms | {"loss/ctrs": contrastive(distributed.gather(rows), distributed.gather(labels), self.margin)}

    def parts(self, batch: dict) -> Iterator[dict[str, torch.Tensor]]:
        """The source's terms, then the target's: they share no graph, unless the MMD between the domains ties them."""
        terms, shared = {}, {}
        for domain in [name for name in ("source", "target") if name in batch]:
            shared[domain], found = self._domain_terms(domain, batch)
            terms |= found
            if domain == "source" and self.identity_terms:
                terms |= self._identity_terms(shared["source"], batch)
            if "loss/mmd" not in self.weights:
                yield terms
                terms, shared = {}, {}
        if "loss/mmd" in self.weights:
            yield terms | {"loss/mmd": mmd(*(distributed.gather(shared[domain]) for domain in ("source", "target")))}

    def forward(self, batch: dict) -> dict[str, torch.Tensor]:
        """All terms of the batch."""
        return {name: term for part in self.parts(batch) for name, term in part.items()}
