"""Ahead on a CPU; its stream on a GPU is seen in tests/test_cuda.py."""

import threading

import pytest

from reid_da.transfer import Ahead


def test_ahead_prepares_the_next_step_while_one_is_computed_and_gives_the_same():
    asked = []

    def batches(step):
        asked.append((step, threading.current_thread().name))
        return {"step": step}

    ahead = Ahead(batches, 6)
    for step in (0, 1, 4, 5):  # from 1 to 4: a training that is resumed asks for what it wants
        assert ahead(step) == {"step": step}
        ahead.thread.submit(int).result()  # all that was asked before is done
        assert asked[-1][0] == min(step + 1, 5)
    assert [step for step, _ in asked] == [0, 1, 2, 4, 5]
    assert threading.current_thread().name not in {name for _, name in asked}


def test_ahead_raises_an_error_at_the_step_that_it_belongs_to():
    def batches(step):
        if step == 1:
            raise OSError("gone")
        return step

    ahead = Ahead(batches, 3)
    assert ahead(0) == 0
    with pytest.raises(OSError, match="gone"):
        ahead(1)
