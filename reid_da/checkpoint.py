"""A training's state on disk: {"step", "learner"}, written whole or not at all; the last two are kept."""

import hashlib
import io
import os
from pathlib import Path

import torch

NAME, PREVIOUS = "checkpoint.pt", "checkpoint.previous.pt"
DIGEST = 32  # bytes of SHA-256


def save(folder: str | Path, step: int, learner: dict) -> None:
    """Write step and state to folder/checkpoint.pt through a temporary name; the one before stays as its neighbour.

    The file is torch.save's (torch.load reads it too) and then the 32 bytes of its SHA-256.
    """
    folder = Path(folder)
    buffer = io.BytesIO()
    torch.save({"step": step, "learner": learner}, buffer)
    temporary = folder / (NAME + ".tmp")
    with open(temporary, "wb") as file:
        file.write(buffer.getbuffer())
        file.write(hashlib.sha256(buffer.getbuffer()).digest())
        file.flush()
        os.fsync(file.fileno())
    if (folder / NAME).exists():
        os.replace(folder / NAME, folder / PREVIOUS)
    os.replace(temporary, folder / NAME)


def load(folder: str | Path) -> dict | None:
    """The newest undamaged state in the folder, tensors on the CPU; None if there is none. Weights only, never code.

    Damage shows in the digest: torch.load's errors for a cut or altered file are many, and some alterations it does not see.
    """
    for path in (Path(folder) / NAME, Path(folder) / PREVIOUS):
        if not path.exists():
            continue
        whole = memoryview(path.read_bytes())
        content, digest = whole[:-DIGEST], whole[-DIGEST:]
        if hashlib.sha256(content).digest() == digest:
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        print(f"{path} is damaged and passed over: training goes on from the state before it, or starts again")
    return None


def there(folder: str | Path) -> bool:
    """Whether the folder holds a state, damaged or not: a killed process may have left the one before alone."""
    return any((Path(folder) / name).exists() for name in (NAME, PREVIOUS))


def remove(folder: str | Path) -> None:
    """Delete the states: the training is finished and its model is saved."""
    for name in (NAME, PREVIOUS, NAME + ".tmp"):
        (Path(folder) / name).unlink(missing_ok=True)
