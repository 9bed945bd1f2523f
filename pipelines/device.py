"""What all work on a processor or a GPU wants around it."""

import errno
from collections.abc import Callable
from functools import wraps

import torch

ADVICE = (
    "more of it free, or in a training less at once: a smaller batch, precision=bf16, data.cache=mapped, more workers"
)


def stage_work(work: Callable) -> Callable:
    """work(job, ...) with the job's "threads", and kernels that add up in one order, so that it ends alike wherever it ran before.

    Raises:
        OSError: the GPU has no room for it, with the job's label and what may help.
    """

    @wraps(work)
    def done(job: dict, *more):
        torch.set_num_threads(job["threads"])
        torch.backends.cudnn.deterministic = True
        try:
            return work(job, *more)
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            if "out of memory" not in str(error):
                raise
            said = ". ".join(str(error).splitlines()[0].split(". ")[:2])
            raise OSError(errno.ENOMEM, f"{job['label']}: the GPU has no room: {said}; expected {ADVICE}") from error

    return done
