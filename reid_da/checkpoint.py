"""A training's state on disk: {"step", "learner"}, written whole or not at all; the last two are kept."""

import os
import pickle
from pathlib import Path

import torch

NAME, PREVIOUS = "checkpoint.pt", "checkpoint.previous.pt"


def save(folder: str | Path, step: int, learner: dict) -> None:
    """Write step and state to folder/checkpoint.pt through a temporary name; the one before stays as its neighbour."""
    folder = Path(folder)
    temporary = folder / (NAME + ".tmp")
    with open(temporary, "wb") as file:
        torch.save({"step": step, "learner": learner}, file)
        file.flush()
        os.fsync(file.fileno())
    if (folder / NAME).exists():
        os.replace(folder / NAME, folder / PREVIOUS)
    os.replace(temporary, folder / NAME)


def load(folder: str | Path) -> dict | None:
    """The newest readable state in the folder, tensors on the CPU; None if there is none. Weights only, never code."""
    for name in (NAME, PREVIOUS):
        try:
            return torch.load(Path(folder) / name, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            continue
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            print(f"{Path(folder) / name} is damaged ({type(error).__name__}): going back to the state before it")
    return None


def remove(folder: str | Path) -> None:
    """Delete the states: the training is finished and its model is saved."""
    for name in (NAME, PREVIOUS, NAME + ".tmp"):
        (Path(folder) / name).unlink(missing_ok=True)
