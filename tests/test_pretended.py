"""What a GPU would refuse, without one: all of test_cuda.py that a device which only pretends to be one can tell."""

import os
import subprocess
import sys

import pytest
from forked import ROOT

pytestmark = pytest.mark.slow
OFF = [option for name in ("xdist", "cacheprovider") for option in ("-p", f"no:{name}")]
ENOUGH = "not stopped or stargan or hhl or ftl or arn_fcn"  # of the trainings that are stopped


def test_nothing_meets_the_cpu_or_waits_for_the_device():
    """In a process of its own, which has not trained yet: see pretended.py."""
    line = [sys.executable, "-m", "pytest", "-q", *OFF, "-p", "pretended", "-k", ENOUGH, "tests/test_cuda.py"]
    more = {"PYTHONPATH": "tests", "PYTEST_ADDOPTS": ""}
    told = subprocess.run(line, cwd=ROOT, env=os.environ | more, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout[-5000:] + told.stderr[-2000:]
    assert " passed" in told.stdout.splitlines()[-1]
