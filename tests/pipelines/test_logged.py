"""What MLflow is told: the commit, against what git says of the same checkout; a stage's numbers."""

import subprocess

from pipelines import logged

TAG = "mlflow.source.git.commit"


def git(folder, *words: str) -> str:
    own = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "safe.directory=*", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *own, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_commit_in_every_kind_of_checkout(tmp_path):
    assert logged.commit(tmp_path) == {}
    repository, worktree = tmp_path / "repository", tmp_path / "worktree"
    repository.mkdir()
    git(repository, "init", "-q")
    assert logged.commit(repository) == {}  # not committed yet
    git(repository, "commit", "-q", "--allow-empty", "-m", "first")
    logged.commit.cache_clear()
    first = git(repository, "rev-parse", "HEAD")
    assert logged.commit(repository) == {TAG: first}
    git(repository, "worktree", "add", "-q", "-b", "side", str(worktree))
    git(worktree, "commit", "-q", "--allow-empty", "-m", "second")
    second = git(worktree, "rev-parse", "HEAD")
    assert second != first and logged.commit(worktree) == {TAG: second}
    git(repository, "pack-refs", "--all")
    logged.commit.cache_clear()
    assert (logged.commit(repository), logged.commit(worktree)) == ({TAG: first}, {TAG: second})
    git(repository, "checkout", "-q", "--detach")
    logged.commit.cache_clear()
    assert logged.commit(repository) == {TAG: first}


def test_measures_are_numbers_as_far_as_they_can_be_told():
    found = {"ratios": {"camera": 0.9, "truth": None}, "gap": {"crop": 0.05, "style": 0.4}, "truth": [[1.0]]}
    assert logged.numbers(found) == {"ratio/camera": 0.9, "gap/crop": 0.05, "gap/style": 0.4}
