"""Checkpoints: whole, or passed over; never half a state."""

import os
import pickle

import pytest
import torch
from tiny import same

from reid_da import checkpoint


def state(value, layout=torch.contiguous_format):
    weights = torch.full((2, 3, 4, 5), float(value)).to(memory_format=layout)
    return {
        "method": {"w": weights},
        "optimiser": {"param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "params": [0]}]},
    }


def test_round_trip(tmp_path):
    checkpoint.save(tmp_path, 7, state(1.5, torch.channels_last))
    loaded = checkpoint.load(str(tmp_path))
    assert loaded["step"] == 7 and same(loaded["learner"], state(1.5))
    assert loaded["learner"]["method"]["w"].is_contiguous(memory_format=torch.channels_last)
    assert torch.load(tmp_path / checkpoint.NAME, weights_only=True)["step"] == 7, "no ordinary torch file"


def test_nothing_to_load(tmp_path):
    assert checkpoint.load(tmp_path) is None
    assert checkpoint.load(tmp_path / "nowhere") is None


def test_the_last_two_are_kept(tmp_path):
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, state(step))
    assert {path.name for path in tmp_path.iterdir()} == {checkpoint.NAME, checkpoint.PREVIOUS}
    assert checkpoint.load(tmp_path)["step"] == 3
    os.remove(tmp_path / checkpoint.NAME)
    assert checkpoint.load(tmp_path)["step"] == 2


def damages(content):
    """Cut anywhere, its end lost to zeros, or a byte changed anywhere."""
    places = range(0, len(content), 97)
    yield from (content[:place] for place in places)
    yield from (content[:place] + bytes(len(content) - place) for place in places)
    yield from (content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :] for place in places)
    yield from (content[:-1], content + b"x", b"no checkpoint" * 100, bytes(4), bytes(100))


def test_a_state_is_there_while_one_of_the_two_is(tmp_path):
    assert not checkpoint.there(tmp_path)
    for step in (1, 2):
        checkpoint.save(tmp_path, step, {})
    (tmp_path / checkpoint.NAME).unlink()  # killed between the two renames
    assert checkpoint.there(tmp_path) and checkpoint.load(tmp_path)["step"] == 1
    checkpoint.remove(tmp_path)
    assert not checkpoint.there(tmp_path)


def test_a_damaged_state_gives_way_to_the_one_before(tmp_path, capsys):
    checkpoint.save(tmp_path, 1, state(1))
    checkpoint.save(tmp_path, 2, state(2))
    whole = (tmp_path / checkpoint.NAME).read_bytes()
    tried = 0
    for content in damages(whole):
        (tmp_path / checkpoint.NAME).write_bytes(content)
        loaded = checkpoint.load(tmp_path)
        assert loaded["step"] == 1 and same(loaded["learner"], state(1))
        assert f"{checkpoint.NAME} is damaged" in capsys.readouterr().out, "a silent fallback"
        tried += 1
    assert tried > 50
    (tmp_path / checkpoint.PREVIOUS).write_bytes(b"")
    assert checkpoint.load(tmp_path) is None
    (tmp_path / checkpoint.NAME).write_bytes(whole)
    assert checkpoint.load(tmp_path)["step"] == 2


def test_a_save_cut_short_anywhere_leaves_a_state(tmp_path, monkeypatch):
    """Killed while writing, before the first rename, or between the two."""

    class Killed(Exception):
        pass

    checkpoint.save(tmp_path, 1, state(1))
    rename = os.replace
    for lived in range(3):
        calls = []

        def dies(source, target, lived=lived, calls=calls):
            calls.append(target)
            if len(calls) > lived:
                raise Killed
            rename(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", dies)
            if lived < 2:
                with pytest.raises(Killed):
                    checkpoint.save(tmp_path, 2, state(2))
            else:
                checkpoint.save(tmp_path, 2, state(2))
        assert checkpoint.load(tmp_path)["step"] == (2 if lived == 2 else 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            checkpoint.save(tmp_path, 3, state(3))
    assert checkpoint.load(tmp_path)["step"] == 2


class Code:
    def __reduce__(self):
        return print, ("code was run",)


def test_weights_are_data_and_never_code(tmp_path, capsys):
    checkpoint.save(tmp_path, 1, {"method": Code()})
    with pytest.raises(pickle.UnpicklingError):
        checkpoint.load(tmp_path)
    assert "code was run" not in capsys.readouterr().out


def test_remove_leaves_nothing_of_its_own(tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, state(step))
    (tmp_path / (checkpoint.NAME + ".tmp")).write_bytes(b"cut short")
    (tmp_path / "model.pt").write_bytes(b"somebody else's")
    checkpoint.remove(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]
    checkpoint.remove(tmp_path)
