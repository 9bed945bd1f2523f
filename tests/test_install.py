"""What a fresh machine installs: the two lists of exact versions are one, bounded, and name no host."""

import os
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def constraints() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_pip_and_uv_have_the_same_versions():
    assert constraints() == PROJECT["tool"]["uv"]["constraint-dependencies"]


def test_every_version_is_exact_and_no_host_is_named():
    for line in constraints():
        assert "==" in line and "://" not in line and "@" not in line and not line.startswith("-"), line


def test_direct_dependencies_are_bounded_and_pinned():
    pinned = {line.split("==")[0] for line in constraints()}
    for dependency in PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]:
        name = dependency.split(">=")[0].split("[")[0]
        assert ">=" in dependency and "<" in dependency, dependency
        assert name in pinned, dependency


def test_the_environment_is_the_pinned_one():
    for name in ("torch", "torchvision", "ray", "mlflow", "hydra-core", "faiss-cpu", "numpy"):
        lines = [line for line in constraints() if line.startswith(f"{name}==")]
        versions = {line.split("==")[1].split(";")[0].strip() for line in lines}
        assert version(name).split("+")[0] in versions, (name, versions)


@pytest.mark.slow
def test_ray_leaves_the_installation_alone_whoever_imports_it_first():
    """Under `uv run` its hook would install a copy of the working folder in the checkout's place."""
    code = "from pipelines import tuning; from ray._private import ray_constants as c; print(c.RAY_ENABLE_UV_RUN_RUNTIME_ENV)"
    variables = {name: value for name, value in os.environ.items() if name != "RAY_ENABLE_UV_RUN_RUNTIME_ENV"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
