"""Batches as most re-ID code makes them: torch's DataLoader, a JPEG and torchvision's transforms image by image."""

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from reid_da import sampling
from reid_da.augment import IMAGENET_MEAN, IMAGENET_STD
from reid_da.images import StyledStore


class Files(Dataset):
    """A stream's images one at a time from their JPEG files, as most re-ID code reads them."""

    def __init__(self, store, world):
        real = store.store if isinstance(store, StyledStore) else store
        variants = 1 + store.styles.shape[1] if isinstance(store, StyledStore) else 1
        first = store.first_label if isinstance(store, StyledStore) else None
        self.items = []
        for row, path in enumerate(real.paths):
            label = int(real.labels[row]) if first is None else first + row
            self.items += [(path, label)] + [(world.style_path(path, k), label) for k in range(variants - 1)]
        self.variants = variants
        height, width = real.images.shape[1:3]
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop((height, width), scale=(0.64, 1.0), ratio=(1 / 3, 1 / 2)),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            ]
        )

    def __len__(self):
        return len(self.items)

    def __getitem__(self, item):
        path, label = self.items[item]
        return self.transform(Image.open(path).convert("RGB")), label


class Steps:
    """A batch sampler that walks through a stream's steps."""

    def __init__(self, stream, variants, steps):
        self.stream, self.variants, self.steps = stream, variants, steps

    def __iter__(self):
        for step in range(self.steps):
            yield [int(row) * self.variants + v for row in self.stream.indices(step) for v in range(self.variants)]


def loaders(streams, world, steps, arguments):
    """step -> batch from one DataLoader a stream, walked through in order."""
    pinned, parts = arguments.device != "cpu", {}
    for name, (store, stream) in streams.items():
        files = Files(store, world)
        sampler = Steps(stream, files.variants, steps)
        count = arguments.workers // len(streams) or 1
        loader = DataLoader(files, batch_sampler=sampler, num_workers=count, pin_memory=pinned, persistent_workers=True)
        parts[name] = iter(loader)

    def batch(step):
        found = {"step": step, "draw": sampling.draws(0, step)}
        for name, rows in parts.items():
            pictures, labels = next(rows)
            pictures = pictures.to(arguments.device, non_blocking=True, memory_format=torch.channels_last)
            found[name] = {"images": pictures, "labels": labels.to(arguments.device, non_blocking=True)}
        return found

    return batch
