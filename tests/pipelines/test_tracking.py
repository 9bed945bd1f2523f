"""MLflow as a view: what a killed command left open is closed by the next one, unless somebody still works on it."""

from collections import OrderedDict

import pytest
from mlflow.tracking._tracking_service import utils

from pipelines import cache, database, options, saved
from pipelines.cache import Stage
from pipelines.progress import Screen
from pipelines.store import Store, client_of
from pipelines.tracking import Tracking

SETTINGS = {"method": {"_target_": "reid_da.methods.baseline.Baseline"}, "backbone": {}, "seed": 0}


@pytest.mark.slow
def test_what_a_killed_command_left_running_is_closed(tmp_path):
    settings = options.compose(["source=market", "target=duke", f"work_dir={tmp_path}"])
    dead, alive = (Stage("baseline", "baseline", SETTINGS | {"seed": n}) for n in (0, 1))
    for stage in (dead, alive):
        cache.start(stage, tmp_path)
    with Screen(tmp_path) as screen:
        killed = Tracking(settings, [dead, alive], screen)
        killed.pipeline = killed.store.run(killed.key, killed.name, killed.tags, {})  # and never closed
        runs = [killed._stage_run(stage) for stage in (dead, alive)]
        with cache.locked([alive], tmp_path, print), Tracking(settings, [alive], screen) as track:
            assert [track.client.get_run(run).info.status for run in runs] == ["KILLED", "RUNNING"]
            assert track.client.get_run(killed.pipeline).info.status == "KILLED"
            assert track.client.get_run(track.pipeline).info.status == "RUNNING"
            track.finish({}, [], [])


@pytest.fixture
def track(tmp_path):
    """track(work_dir, stages): the tracking of one command, in a store that all share."""

    def start(name: str, *stages: Stage) -> Tracking:
        uri = f"tracking.uri=sqlite:///{tmp_path / 'shared.db'}"
        settings = options.compose(["source=market", "target=duke", f"work_dir={tmp_path / name}", uri])
        return Tracking(settings, stages, Screen(tmp_path / name))

    return start


@pytest.mark.slow
def test_each_work_dir_keeps_to_its_own_runs_in_a_shared_store(track):
    stage = Stage("baseline", "baseline", SETTINGS)
    with track("one", stage) as one:
        mine = one._stage_run(stage)
        one.client.set_terminated(mine, "FINISHED")
        with track("two", stage) as two:
            two._forget_finished(stage)
            assert two._stage_run(stage) != mine
            assert one.client.get_run(mine).info.lifecycle_stage == "active"
            assert two.run_ids()[stage.hash] != one.run_ids()[stage.hash] == mine
            two.finish({}, [], [])
        one.finish({}, [], [])


@pytest.mark.slow
def test_a_result_that_changed_is_the_runs_last_value_and_none_is_there_twice(track):
    with track("one") as one:
        for value in (0.1, 0.1, 0.9):
            one.finish({"baseline/mAP": value}, [], [])
        run = one.client.get_run(one.pipeline)
        history = one.client.get_metric_history(one.pipeline, "baseline/mAP")
    assert run.data.metrics == {"baseline/mAP": 0.9}
    assert [(m.step, m.value) for m in history] == [(0, 0.1), (1, 0.9)]


def test_a_moved_work_dir_keeps_its_pictures_and_models(tmp_path, monkeypatch):
    """MLflow writes down where artifacts lie; what lay in the old folder is found in the new one, and nothing is put there."""
    before, after, file = tmp_path / "before", tmp_path / "after (ö)", tmp_path / "note.txt"
    file.write_text("a note")
    store = Store(before, None, "pipelines/run.py")
    run = store.run("a hash", "a name", {}, {})
    store.client.log_artifact(run, str(file))
    model = store.client.create_logged_model(store.experiment, "a model", run)
    store.client.create_registered_model("reid")
    store.client.create_model_version("reid", model.artifact_location, run)
    before.rename(after)
    monkeypatch.setattr(utils, "_artifact_repos_cache", OrderedDict())  # each command is a process of its own
    for _ in range(2):
        client = Store(after, None, "pipelines/run.py").client
        client.log_artifact(run, str(file), "again")
        assert [one.path for one in client.list_artifacts(run)] == ["again", "note.txt"]
    here = after.as_uri() + "/mlartifacts/"
    assert client.get_logged_model(model.model_id).artifact_location.startswith(here)
    assert client.get_model_version("reid", "1").source.startswith(here)
    assert not before.exists()


@pytest.mark.parametrize("place", ["mlflow-artifacts:/1", "file:///large/disk"])
def test_artifacts_that_somebody_put_elsewhere_stay_there(place, tmp_path):
    """As a server does that is started on the work_dir's database; the database may also be named by its URI."""
    own = tmp_path / "mlflow.db"
    database.make(own)
    client_of(f"sqlite:///{own}").create_experiment(database.EXPERIMENT, artifact_location=place)
    for uri in (None, f"sqlite:///{own}"):
        store = Store(tmp_path, uri, "pipelines/run.py")
        assert store.own and store.client.get_experiment(store.experiment).artifact_location == place


def test_a_file_in_the_database_s_place(tmp_path):
    (tmp_path / "mlflow.db").touch()
    assert Store(tmp_path, None, "pipelines/run.py").experiment  # as empty as a new one
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mlflow.db").write_text("a list of crops, not a database")
    with pytest.raises(ValueError, match="file is not a database; expected the database of MLflow: move it away"):
        Store(tmp_path / "other", None, "pipelines/run.py")


def test_a_driver_that_is_not_installed_is_named():
    with pytest.raises(ValueError, match="whose driver psycopg.* is not installed"):
        client_of("postgresql://u:p@host/db")


def test_a_registered_model_of_a_moved_work_dir_is_looked_for_in_the_new_place(tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    store = Store(before, None, "pipelines/run.py")
    run = store.run("a hash", "a name", {}, {})
    model = store.client.create_logged_model(store.experiment, "a model", run)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "note.txt").write_text("no model")
    store.client.log_model_artifacts(model.model_id, str(tmp_path / "files"))
    store.client.create_registered_model("reid")
    store.client.create_model_version("reid", model.artifact_location, run)
    before.rename(after)
    with pytest.raises(ValueError, match=f"{after}/mlartifacts/.* holds no model, stage.json and model.pt"):
        saved.find("models:/reid/1", after, None)
