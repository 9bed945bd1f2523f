"""A YAML block is a constructor call."""

import pytest

from pipelines.build import build, parameters, resolve
from reid_da.learner import step_decay
from reid_da.methods.hhl import HHL


def test_it_calls_the_target_with_the_keywords():
    assert build({"_target_": "reid_da.learner.step_decay", "gamma": 0.5}, 0.9) == step_decay(0.9, gamma=0.5)


def test_a_keyword_that_the_target_lacks_is_named_with_the_nearest():
    with pytest.raises(ValueError, match="takes no 'gama'; did you mean 'gamma'"):
        build({"_target_": "reid_da.learner.step_decay", "gama": 0.5}, 0.9)


def test_keywords_of_a_parent_are_taken():
    assert {"beta", "n_t", "embedding", "dropout", "batch"} <= parameters(HHL).keys()


@pytest.mark.parametrize(
    "path", ["os.system", "pipelines.run.story", "reid_da.nothing.here", "reid_da.losses.none", ""]
)
def test_only_what_is_in_the_library_is_resolved(path):
    with pytest.raises(ValueError, match="_target_"):
        resolve(path)
