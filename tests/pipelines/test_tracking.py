"""MLflow as a view: what a killed command left open is closed by the next one, unless somebody still works on it."""

from pipelines import cache, options
from pipelines.cache import Stage
from pipelines.progress import Screen
from pipelines.tracking import Tracking


def test_what_a_killed_command_left_running_is_closed(tmp_path):
    settings = options.compose(["source=market", "target=duke", f"work_dir={tmp_path}"])
    dead, alive = (Stage("baseline", "baseline", {"method": {}, "backbone": {}, "seed": n}) for n in (0, 1))
    for stage in (dead, alive):
        cache.start(stage, tmp_path)
    with Screen(tmp_path) as screen:
        killed = Tracking(settings, [dead, alive], screen)
        killed._open()  # and never closed
        runs = [killed._stage_run(stage) for stage in (dead, alive)]
        with cache.locked([alive], tmp_path, print), Tracking(settings, [alive], screen) as track:
            assert [track.client.get_run(run).info.status for run in runs] == ["KILLED", "RUNNING"]
            assert track.client.get_run(killed.pipeline).info.status == "KILLED"
            assert track.client.get_run(track.pipeline).info.status == "RUNNING"
            track.finish({}, [], [])
