"""What the stages' work writes: progress lines, weights and arrays, each whole or not at all."""

import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from reid_da import distributed


def reporter(job: dict, also: Callable | None = None) -> Callable:
    """report(done, total, floats, phase): a line in the part's metrics.jsonl, by rank 0, never twice for one step.

    Gives back what `also`, called after it, gives. After a restart the lines beyond the checkpoint are taken out again, so that
    the file reads as one undisturbed run.
    """
    path = Path(job["part"]) / "metrics.jsonl"
    state = {"started": False}

    def report(done: int, total: int, floats: dict | None = None, phase: str = "") -> bool:
        if distributed.rank() == 0:
            if not state["started"]:
                _keep_before(path, done, phase)
                state["started"] = True
            with open(path, "a") as file:
                file.write(json.dumps({"step": done, "total": total, "phase": phase, **(floats or {})}) + "\n")
        return also(done, total, floats or {}) if also else False

    return report


def _keep_before(path: Path, step: int, phase: str) -> None:
    if path.exists():
        lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        kept = [line for line in lines if (entry := json.loads(line))["step"] < step and entry["phase"] == phase]
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text("".join(kept))
        os.replace(temporary, path)


def save_weights(path: Path, module: torch.nn.Module) -> None:
    """The module's state dict, on the CPU, as torch.save writes it."""
    buffer = io.BytesIO()
    torch.save({name: tensor.cpu() for name, tensor in module.state_dict().items()}, buffer)
    write_whole(path, buffer)


def save_array(path: Path, array: np.ndarray) -> None:
    """The array as a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    write_whole(path, buffer)


def write_whole(path: Path, buffer: io.BytesIO) -> None:
    """Write through a temporary name. From memory: torch and numpy tell a full disk by errors of their own, Python by OSError."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(buffer.getbuffer())
    os.replace(temporary, path)


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, map_location="cpu", weights_only=True)


def statuses(paths: Sequence[str]) -> Iterator[os.stat_result]:
    """os.stat of each path, in order; by threads, since a shared disk answers many as fast as one. A terminal is told how far."""
    told = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        for done, status in enumerate(pool.map(os.stat, paths)):
            yield status
            if sys.stderr.isatty() and time.monotonic() - told > 1:  # a line of our own: this must do without tqdm
                told = time.monotonic()
                print(f"looking at files: {done:,} of {len(paths):,}", end="\r", file=sys.stderr, flush=True)


def last_line(path: Path) -> dict | None:
    """The last whole line of a metrics.jsonl, or None."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            lines = [line for line in file.read().split(b"\n")[:-1] if line.startswith(b"{")]
        return json.loads(lines[-1]) if lines else None
    except (FileNotFoundError, json.JSONDecodeError):
        return None
