"""How the StarGAN's learning rate falls: the share of the start that is left, a pure function of the step."""

RELEASED_EVERY = 1000  # lr_update_step of the released code


def linear_decay(step: int, steps: int, decay_from: float) -> float:
    """1 until step = decay_from steps, then (steps - step) / (steps - decay_from steps), which is 0 at `steps`.

    As both papers describe it (Choi et al., "StarGAN", CVPR 2018, on training; Zhong et al., ECCV 2018).

    Args:
        step: 0-based, of the update that the rate is for. steps: of the whole training.
        decay_from: where the fall begins, as a fraction of `steps`, 0..1.

    Returns:
        A share in [0, 1].
    """
    left = (steps - step) / max(steps * (1 - decay_from), 1)
    return min(max(left, 0.0), 1.0)


def released_decay(step: int, steps: int, decay_from: float) -> float:
    """1 - n / (steps - decay_from steps), n the multiples m of 1000 with decay_from steps < m <= step.

    What the released code does instead of `linear_decay` (yunjey/stargan and stargan4reid, solver.py: it takes away
    lr / num_iters_decay, one step's share, but only once per lr_update_step = 1000 iterations): at the published
    lengths the rate ends at 0.999 of the start. A bug, kept so that its effect can be measured. Arguments as for
    `linear_decay`; a share in [0, 1].
    """
    start = steps * decay_from
    lowered = max(0, step // RELEASED_EVERY - int(start // RELEASED_EVERY))
    return 1 - lowered / max(steps - start, 1)
