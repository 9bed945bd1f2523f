"""A GPU that is none, for `pytest -p pretended`: its tensors are computed by the CPU, and refuse to meet the CPU's own.

What it shows of a GPU: that everything that meets lies on one device, and where the host waits for it. What it does not: streams,
pinned memory, autocast, speed. In a process of its own: autograd takes on devices before its first backward pass alone.
"""

import traceback
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils import backend_registration
from torch.utils._pytree import tree_leaves, tree_map

NAME = "pretended"
ROOT = Path(__file__).resolve().parents[1]
MEETING = ("copy_", "_to_copy", "index", "index_put", "index_put_", "_index_put_impl_")  # indices may lie on the CPU
COUNTED = ("_local_scalar_dense", "nonzero", "masked_select", "repeat_interleave", "bincount", "equal")
COUNTED += ("_unique2", "unique_dim", "unique_consecutive", "_coalesce")
waits: Counter = Counter()  # (what, file:line) -> how often the host waited for the device


class OnDevice(torch.Tensor):
    """Says that it lies on the device; `inner` is the CPU's tensor that it stands for."""

    is_cuda = True
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: torch.Tensor):
        how = {"dtype": inner.dtype, "device": f"{NAME}:0", "layout": inner.layout}
        if inner.layout == torch.strided:
            how |= {"strides": inner.stride(), "storage_offset": inner.storage_offset()}
        self = torch.Tensor._make_wrapper_subclass(cls, inner.shape, **how)
        self.inner = inner
        return self

    def __repr__(self) -> str:
        return f"{NAME}({self.inner})"

    def __reduce_ex__(self, protocol):
        return self.inner.detach().__reduce_ex__(protocol)

    def tolist(self) -> list:
        _waited("tolist")
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        name, kwargs = function.overloadpacket.__name__, kwargs or {}
        if name == "_has_compatible_shallow_copy_type":  # what nn.Module.to asks in inference mode
            return False
        _refuse_to_meet(name, args, kwargs)
        to = kwargs.get("device")
        here = {id(leaf.inner): leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, cls)}
        stays = isinstance(args[0], cls) if name == "copy_" else to is None or torch.device(to).type == NAME
        if _blocks(name, args, kwargs, stays):
            _waited(name)
        if to is not None:
            kwargs = kwargs | {"device": "cpu"}
        done = function(*tree_map(_inner, args), **tree_map(_inner, kwargs))
        # an operation in place gives the very tensor that it was given
        return tree_map(lambda one: here.get(id(one), _wrapped(one)) if stays else one, done)


def _inner(one):
    return one.inner if isinstance(one, OnDevice) else one


def _wrapped(one):
    return OnDevice(one) if isinstance(one, torch.Tensor) else one


def _refuse_to_meet(name: str, args: tuple, kwargs: dict) -> None:
    leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    if name.startswith(("index_put", "_index_put")):
        wrong = [args[0], args[2]] if args[2].ndim else []
    elif name == "index" and not isinstance(args[0], OnDevice):
        wrong = leaves
    else:
        wrong = [] if name in MEETING else [leaf for leaf in leaves if leaf.ndim or isinstance(leaf, OnDevice)]
    if len({isinstance(leaf, OnDevice) for leaf in wrong}) == 2:
        raise RuntimeError(f"{name}: tensors on the {NAME} device and on the CPU")


def _blocks(name: str, args: tuple, kwargs: dict, stays: bool) -> bool:
    """Whether the host would wait for all that the device has to do."""
    if name in ("index", "index_put", "index_put_"):
        return any(mask is not None and mask.dtype == torch.bool for mask in args[1])
    if name == "copy_":
        non_blocking = kwargs.get("non_blocking", len(args) > 2 and args[2])
        return isinstance(args[0], OnDevice) != isinstance(args[1], OnDevice) and not non_blocking
    return name in COUNTED or (name == "_to_copy" and not stays and not kwargs.get("non_blocking"))


def _waited(what: str) -> None:
    frames = [frame for frame in traceback.extract_stack() if Path(frame.filename).is_relative_to(ROOT)]
    lines = [f for f in frames if not f.filename.startswith(str(ROOT / "tests"))]
    last = (lines or frames)[-1]
    waits[what, f"{Path(last.filename).relative_to(ROOT)}:{last.lineno}"] += 1


def _empty(size, *, dtype=None, layout=None, device=None, pin_memory=None, memory_format=None):
    return OnDevice(torch.empty(size, dtype=dtype, memory_format=memory_format or torch.contiguous_format))


def _empty_strided(size, stride, *, dtype=None, layout=None, device=None, pin_memory=None):
    return OnDevice(torch.empty_strided(size, stride, dtype=dtype))


def _triu_indices(row, col, offset=0, *, dtype=None, layout=None, device=None, pin_memory=None):
    return OnDevice(torch.triu_indices(row, col, offset, dtype=dtype))


def _copy(self, source, non_blocking=False):  # below what dispatches on tensors: torch.tensor(..., device=)
    if not non_blocking:
        _waited("a new tensor")
    _inner(self).copy_(_inner(source))
    return self


backend_registration._setup_privateuseone_for_python_backend(NAME)
library = torch.library.Library("aten", "IMPL")
library.impl("empty.memory_format", _empty, "PrivateUse1")
library.impl("empty_strided", _empty_strided, "PrivateUse1")
library.impl("triu_indices", _triu_indices, "PrivateUse1")
library.impl("copy_", _copy, "PrivateUse1")
getattr(torch, NAME).get_amp_supported_dtype = lambda: [torch.bfloat16]
torch.Tensor.pin_memory = lambda self: self
torch.cuda.mem_get_info = lambda device=None: (1 << 30, 1 << 30)


@pytest.fixture(autouse=True)
def from_nothing():
    waits.clear()
