"""BatchNorm re-estimated on the target: the cheapest adaptation, and a control for all others."""

import numpy as np
import torch

from reid_da.augment import normalise
from reid_da.images import ImageStore
from reid_da.sampling import generator


@torch.no_grad()
def reestimate(method, store: ImageStore, *, device: str = "cpu", batch_size: int = 256) -> None:
    """Replace running means and variances by their averages over the store's images (AdaBN: Li et al., 2016, arXiv:1603.04779).

    The images pass through `method.embed` in training mode, in random batches of nearly one size, and each batch counts
    alike. Weights stay, and so do layers that `embed` does not visit.

    Args:
        method: a module with `embed`; left in evaluation mode. store: images without labels. batch_size: at most.
    """
    norms = [module for module in method.modules() if hasattr(module, "running_mean")]
    before = [norm.momentum for norm in norms]
    order = torch.randperm(len(store), generator=generator("adabn")).numpy()
    method.train()
    for count, rows in enumerate(np.array_split(order, -(-len(order) // batch_size)), start=1):
        for norm in norms:
            norm.momentum = 1 / count  # 1 forgets what was there; then the average of all batches so far
        method.embed(normalise(torch.from_numpy(store.images[np.sort(rows)]).to(device)))
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    method.eval()
