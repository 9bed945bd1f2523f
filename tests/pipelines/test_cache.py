"""Stages and their folders: hashes, what finished means, locks."""

import json
import os
import subprocess
import sys
import threading

import pytest

from pipelines import cache
from pipelines.cache import Stage

DATA = Stage("data", "data market", {"images": {"height": 64}})
MODEL = Stage("hhl", "hhl", {"seed": 0}, {"source": DATA})


def test_hash_depends_on_all_that_changes_the_result():
    other_data = Stage("data", "data market", {"images": {"height": 32}})
    others = [
        Stage("arn", "hhl", {"seed": 0}, {"source": DATA}),
        Stage("hhl", "hhl", {"seed": 1}, {"source": DATA}),
        Stage("hhl", "hhl", {"seed": 0}, {"target": DATA}),
        Stage("hhl", "hhl", {"seed": 0}, {"source": other_data}),
        Stage("hhl", "hhl", {"seed": 0}, {"source": DATA}, version=2),
    ]
    assert len({stage.hash for stage in [MODEL, *others]}) == len(others) + 1


def test_hash_leaves_out_what_people_read_and_the_order_of_settings():
    assert MODEL.hash == Stage("hhl", "label", {"seed": 0}, {"source": DATA}, about={"recipe": "quick"}).hash
    assert Stage("a", "", {"x": 1, "y": 2}).hash == Stage("a", "", {"y": 2, "x": 1}).hash


def test_a_part_is_not_finished_until_it_is_renamed(tmp_path):
    cache.start(MODEL, tmp_path)
    assert not MODEL.finished(tmp_path)
    cache.finish(cache.job(MODEL, tmp_path))
    assert MODEL.finished(tmp_path) and not MODEL.part(tmp_path).exists()
    meta = json.loads((MODEL.folder(tmp_path) / "stage.json").read_text())
    assert meta["hash"] == MODEL.hash and meta["inputs"] == {"source": {"name": "data", "hash": DATA.hash}}


def test_start_goes_on_with_what_is_there(tmp_path):
    cache.start(MODEL, tmp_path)
    (MODEL.part(tmp_path) / "checkpoint.pt").write_text("kept")
    cache.start(MODEL, tmp_path)
    assert (MODEL.part(tmp_path) / "checkpoint.pt").read_text() == "kept"


def test_forget_removes_both(tmp_path):
    cache.start(MODEL, tmp_path)
    cache.finish(cache.job(MODEL, tmp_path))
    cache.start(MODEL, tmp_path)
    cache.forget(MODEL, tmp_path)
    assert not MODEL.finished(tmp_path) and not MODEL.part(tmp_path).exists()


def test_what_a_killed_command_left_is_in_nobodys_way(tmp_path):
    folder = MODEL.folder(tmp_path)
    cache.start(MODEL, tmp_path)
    (MODEL.part(tmp_path) / "shards").mkdir()
    (MODEL.part(tmp_path) / "shards" / "0.npy.tmp").write_text("half")
    cache.finish(cache.job(MODEL, tmp_path))
    assert not list(folder.rglob("*.tmp")), "what was not written whole is no part of a finished stage"
    folder.with_suffix(".old").mkdir()
    (folder.with_suffix(".old") / "model.pt").write_text("killed while it was removed")
    cache.forget(MODEL, tmp_path)
    assert not folder.exists() and not folder.with_suffix(".old").exists()


def test_a_killed_commands_worker_is_waited_for(tmp_path):
    """The worker that outlives its command holds the part in a process of its own; the stage's lock is free."""
    code = f"""
import sys
from pipelines import cache
with cache.writing({cache.job(MODEL, tmp_path)!r}):
    print("writing", flush=True)
    sys.stdin.readline()
    print("wrote", flush=True)
"""
    worker = subprocess.Popen([sys.executable, "-c", code], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert worker.stdout.readline() == "writing\n"
    said = []

    def tell(line):
        said.append(line)
        worker.stdin.write("end\n")
        worker.stdin.flush()

    with cache.locked([MODEL], tmp_path, tell):
        assert worker.stdout.readline() == "wrote\n"
    worker.communicate()
    assert said == ["hhl: a killed command's worker is still writing; waiting for its end"]


def test_a_second_command_waits_and_says_so(tmp_path):
    said, order = [], []
    inside, leave = threading.Event(), threading.Event()

    def first():
        with cache.locked([MODEL, DATA], tmp_path, said.append):
            inside.set()
            leave.wait(20)
            order.append("first")

    def second():
        with cache.locked([DATA], tmp_path, said.append):
            order.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert inside.wait(20)
    threads[1].start()
    while not said:  # the second one has met the lock
        threads[1].join(0.05)
    leave.set()
    for thread in threads:
        thread.join(20)
    assert order == ["first", "second"] and said == ["data market: another command is making it; waiting for it"]


def test_locks_are_freed_by_an_error(tmp_path):
    with pytest.raises(RuntimeError), cache.locked([DATA], tmp_path, print):
        raise RuntimeError
    with cache.locked([DATA], tmp_path, lambda line: pytest.fail(line)):
        pass


def test_write_json_replaces_whole(tmp_path):
    cache.write_json(tmp_path / "x.json", [1])
    cache.write_json(tmp_path / "x.json", [2])
    assert json.loads((tmp_path / "x.json").read_text()) == [2] and os.listdir(tmp_path) == ["x.json"]
