"""The learning rate's fall against the papers' sentence and against the released code's loop."""

import pytest

from gan.schedules import linear_decay, released_decay


def released_code(num_iters, num_iters_decay, upto):
    """Rates in the iterations 0..upto-1, by the loop of yunjey/stargan's solver.py (lr_update_step 1000, lr 1)."""
    rate, rates = 1.0, []
    for i in range(upto):
        rates.append(rate)
        if (i + 1) % 1000 == 0 and (i + 1) > (num_iters - num_iters_decay):
            rate -= 1.0 / num_iters_decay
    return rates


@pytest.mark.parametrize(("steps", "decay_from"), [(20_000, 0.5), (20_000, 0.0), (7_300, 0.4), (500, 0.5)])
def test_released_decay_is_the_released_codes(steps, decay_from):
    expected = released_code(steps, steps * (1 - decay_from), steps)
    assert [released_decay(step, steps, decay_from) for step in range(steps)] == pytest.approx(expected, abs=1e-12)


def test_released_decay_ends_at_0999_of_the_start_at_the_published_length():
    assert released_decay(219_999, 220_000, 0.5) == pytest.approx(1 - 109 / 110_000)
    assert linear_decay(219_999, 220_000, 0.5) == pytest.approx(1 / 110_000)


def test_linear_decay_is_flat_then_falls_in_a_line_to_zero():
    assert [linear_decay(step, 8, 0.5) for step in range(9)] == [1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0]
    assert [linear_decay(step, 4, 1.0) for step in range(5)] == [1, 1, 1, 1, 0]
    assert [linear_decay(step, 4, 0.0) for step in (0, 1, 4)] == [1, 0.75, 0]
