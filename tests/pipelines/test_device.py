"""A GPU without room is a line that says what helps, not a traceback; and any work sets its threads and a GPU's order."""

import errno
import pickle

import pytest
import torch

from pipelines import training
from pipelines.device import stage_work

SAID = (
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 139.80 GiB of which 12.00 MiB is free. "
    "Including non-PyTorch memory, this process has 139.78 GiB memory in use.\nSee documentation for Memory Management"
)
LATER = (
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace "
    "below might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1"
)


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_no_room_on_the_gpu_names_the_stage_and_what_helps():
    @stage_work
    def work(job):
        raise torch.OutOfMemoryError(SAID)

    with pytest.raises(OSError, match="no room") as found:
        work({"threads": 1, "label": "hhl hhl.beta=0.5"})
    assert found.value.errno == errno.ENOMEM
    assert found.value.strerror == (
        "hhl hhl.beta=0.5: the GPU has no room: CUDA out of memory. Tried to allocate 20.00 MiB; expected more of it "
        "free, or in a training less at once: a smaller batch, precision=bf16, data.cache=mapped, more workers"
    )


def test_another_error_of_the_gpu_stays_what_it_is():
    @stage_work
    def work(job):
        raise torch.AcceleratorError(job["said"])

    with pytest.raises(OSError, match="hhl: the GPU has no room: CUDA error: out of memory; expected more of it free"):
        work({"threads": 1, "label": "hhl", "said": LATER})
    with pytest.raises(torch.AcceleratorError, match="illegal"):
        work({"threads": 1, "label": "hhl", "said": "CUDA error: an illegal memory access was encountered"})


def test_work_is_set_up_and_still_goes_to_rays_workers_by_name():
    seen = stage_work(lambda job, more: (torch.get_num_threads(), torch.backends.cudnn.deterministic, more))
    assert seen({"threads": 2, "label": ""}, "more") == (2, True, "more")
    assert pickle.loads(pickle.dumps(training.train)) is training.train
