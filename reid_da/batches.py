"""Batches: a pure function of the step that takes rows from stores, cuts out this rank's share and augments it."""

from collections.abc import Callable
from functools import partial

import torch

from reid_da import distributed, sampling
from reid_da.augment import random_area_crop, random_shift
from reid_da.images import ImageStore, on_device
from reid_da.transfer import to_device


def method_batches(
    streams: dict[str, tuple],
    *,
    seed: int,
    device: str = "cpu",
    augment: Callable = random_area_crop,
    resident: bool = False,
    channels_last: bool = True,
) -> Callable[[int], dict]:
    """The methods' batches: step -> {stream: {"images", "labels", "cameras"}, "step", "draw"}.

    Args:
        streams: name -> (store with `take`, stream with `indices`). Each stream's global rows are shared by the ranks.
        seed: of every draw. augment: augment(images, sizes, draw) -> (B, 3, H, W) float.
        resident: keep all pictures in the device's memory, where it has room for them. channels_last: layout of the images.
    """
    if resident:
        moved = {id(store): on_device(store, device) for store, _ in streams.values()}  # two streams may share one
        streams = {name: (moved[id(store)], stream) for name, (store, stream) in streams.items()}

    layout = torch.channels_last if channels_last else torch.contiguous_format

    def batch(step: int) -> dict:
        draw = sampling.draws(seed, step, distributed.rank(), distributed.world())
        result = {"step": step, "draw": draw}
        for name, (store, stream) in streams.items():
            rows = distributed.local(stream.indices(step), f"the batch of stream '{name}'")
            fields = store.take(rows)
            sizes = fields.pop("sizes")  # looked at on the CPU
            images = to_device(fields.pop("images"), device)
            images = augment(images, sizes, partial(_named, draw, name)).contiguous(memory_format=layout)
            result[name] = {"images": images, **{key: to_device(value, device) for key, value in fields.items()}}
        return result

    return batch


def translation_batches(
    store: ImageStore, size: int, *, seed: int, device: str = "cpu", part: float = 8 / 9, resident: bool = False
) -> Callable[[int], dict]:
    """The StarGAN's batches: step -> {"images" in [-1, 1], "cameras", "wanted", "alpha", "step"}.

    Wanted cameras are a random permutation of the GLOBAL batch's cameras, so they follow the cameras' frequency; alpha is uniform
    in [0, 1), where the gradient penalty looks between an image and its style.
    """
    stream = sampling.Shuffled(len(store), size, seed=seed, name="stargan")
    store = on_device(store, device) if resident else store

    def batch(step: int) -> dict:
        rows = stream.indices(step)
        order = torch.randperm(len(rows), generator=sampling.generator(seed, step, "wanted")).numpy()
        own, wanted = (distributed.local(r, "gan.batch") for r in (rows, rows[order]))
        draw = sampling.draws(seed, step, distributed.rank(), distributed.world())
        alpha = draw("gan/penalty", (len(own),))
        images = random_shift(to_device(store.take(own)["images"], device), draw, part=part)
        cameras = torch.from_numpy(store.camera_labels)
        return {
            "images": images,
            "cameras": to_device(cameras[own], device),
            "wanted": to_device(cameras[wanted], device),
            "alpha": to_device(alpha, device),
            "step": step,
        }

    return batch


def _named(draw: sampling.Draw, name: str, purpose: str, shape: tuple[int, ...]) -> torch.Tensor:
    return draw(f"{name}/{purpose}", shape)
