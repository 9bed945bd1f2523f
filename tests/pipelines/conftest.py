"""What tests of sweeps as plain values share."""

import pytest
from sweeping import BASE, block, trial

from pipelines import options


@pytest.fixture(scope="module")
def base() -> dict:
    return options.compose([*BASE, "methods=[hhl]"])


@pytest.fixture
def small(tmp_path):
    """A trial of two seeds in an empty work_dir, and the sweep's folder."""
    settings = options.compose([*BASE, "methods=[hhl]", f"work_dir={tmp_path}"])
    return trial(block(seeds=[0, 1]), {"hhl.beta": 0.3, "hhl.n_t": 4}, settings), tmp_path / "sweeps" / "key"
