"""A trial of a sweep whose process is killed, as the system does where memory is short: the others are not harmed."""

import os
import signal

import pytest
from started import Started, reports, statuses, until, with_cached

pytestmark = pytest.mark.slow


def test_what_a_killed_trial_held_is_free_for_the_next(swept, tmp_path):
    """One at a time, on all cores: a worker of the second has no room while the first one's is held."""
    work_dir = with_cached(tmp_path / "work", swept[0])
    more = ["cluster=local", "cluster.cpus_per_worker=2", "sweep.space.beta=[0.1,0.5]", "sweep.space.n_t=[2]"]
    with Started(work_dir, *more, at=None, name="sweep") as command:
        until(lambda: reports(work_dir, "hhl") > 1)
        (trial,) = command.family("ray::ImplicitFunc")
        os.kill(trial, signal.SIGKILL)
        assert command.end() == 0, command.said()
    said = command.said()
    assert "hhl.beta=0.1 hhl.n_t=2: failed, RuntimeError: its process was killed" in said, said
    assert "failed: beta 0.1 n_t 2: RuntimeError: its process was killed" in said and "best: beta 0.5 n_t 2" in said
    assert statuses(work_dir) == {"FINISHED", "FAILED"}
