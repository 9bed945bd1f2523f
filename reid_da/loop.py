"""fit: the only training loop, for the methods and the StarGAN alike.

A learner has `update(batch) -> floats`, `state_dict()` and `load_state_dict()`; batches is a pure function of the step. So a
checkpoint is step + learner, and a run that is stopped anywhere goes on as if it had not been.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from reid_da import checkpoint, distributed

Report = Callable[[int, int, dict[str, float]], bool | None]


def fit(
    learner,
    batches: Callable[[int], dict],
    steps: int,
    *,
    folder: str | Path,
    report: Report,
    report_every: int = 10,
    checkpoint_every: int = 100,
) -> bool:
    """Train from the folder's checkpoint (or the start) to `steps`; whether it came there.

    Args:
        learner: what is trained; every rank calls fit with its own.
        batches: batches(step) -> this rank's share of step's batch.
        folder: where rank 0 keeps the checkpoint; the step to resume at is rank 0's.
        report: report(steps done, steps in all, floats) after each `report_every` steps and at the end, on every rank equally
            often. floats: means over the ranks and the steps since the last report, and "seconds_per_step". True, the same on
            every rank, ends the training here, with a checkpoint to go on from.
        checkpoint_every: a checkpoint is written with the first report at or after each multiple of it, so that a resumed run
            reports the means that an undisturbed one would have. None after the last step: the model is the caller's to save.
    """
    state = distributed.broadcast(checkpoint.load(folder) if distributed.rank() == 0 else None)
    start = 0
    if state:
        learner.load_state_dict(state["learner"])
        start = state["step"]
    sums, counts = defaultdict(float), defaultdict(int)
    reported, began = start, time.perf_counter()
    for step in range(start, steps):
        for name, value in learner.update(batches(step)).items():
            sums[name] += value
            counts[name] += 1
        done = step + 1
        if done % report_every and done < steps:
            continue
        floats = distributed.mean({name: sums[name] / counts[name] for name in sums})
        now = time.perf_counter()
        ended = report(done, steps, floats | {"seconds_per_step": (now - began) / (done - reported)})
        sums, counts = defaultdict(float), defaultdict(int)
        reported, began = done, now
        due = done // checkpoint_every > (done - report_every) // checkpoint_every
        if (due or ended) and done < steps:
            state = learner.state_dict()
            if distributed.rank() == 0:
                checkpoint.save(folder, done, state)
        if ended and done < steps:
            return False
    return True
