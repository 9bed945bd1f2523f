"""L-Softmax (Liu, Wen, Yu, Yang; ICML 2016): a multiplied angle, with the norms of features and class weights."""

from torch import Tensor

from reid_da.distances import at_least_float32
from reid_da.identity_losses.a_softmax import ASoftmax


class LSoftmax(ASoftmax):
    """True class |W_y| |x| (lambda cos_y + psi(theta_y)) / (1 + lambda), others W_j.x; arguments as ASoftmax's."""

    def norms(self, features: Tensor) -> Tensor:
        """(B, C): the products of the norms."""
        return super().norms(features) * at_least_float32(self.weight).norm(dim=1)
