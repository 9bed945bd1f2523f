"""What is seen of a sweep while it runs and when it is done: a growing table, MLflow's runs, charts, and where the time went."""

import hashlib
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from pipelines import budget, files, logged, results, sweep_charts, sweep_report, sweeps
from pipelines.cache import Stage
from pipelines.figures import save
from pipelines.sweep_report import NUMBERS
from pipelines.sweeps import Trial
from pipelines.tracking import Tracking


class Views:
    """The listener of a search: begin, end and failed are called for every trial, finish at the end.

    Args:
        own: conf/sweep.yaml's block. given: the command line's other options. base: its settings. folder: of the sweep.
        count: how many trials there will be. trial: trial(point) -> Trial.
    """

    def __init__(self, own, given: list[str], base: dict, folder: Path, track: Tracking, count: int, trial: Callable):
        self.own, self.given, self.base, self.folder = own, given, base, folder
        self.track, self.count, self.trial = track, count, trial
        self.metric, self.work_dir = own["metric"], track.work_dir
        self.rows: dict[str, dict] = {}  # trial's key -> its row
        self.errors: dict[str, tuple[dict, str]] = {}
        self.begun: dict[str, tuple[float, list[Stage]]] = {}
        self.done = 0
        self.spent = {"shared": 0.0, "trained": 0.0, "made": 0, "training": 0.0}

    def prepared(self, trials: list[Trial], at_once: int, seconds: float, left: int) -> None:
        """The shared stages are made: say how long the trials that are left may take, and what the table's columns are."""
        self.at_once, self.spent["shared"], self.started = at_once, seconds, time.monotonic()
        told = [estimate for one in trials if (estimate := budget.training_seconds(one, self.work_dir))]
        if told:
            mean, by = statistics.fmean(told), trials[0].trained()[0].inputs["start"].label
            whole = mean * left / at_once / 60
            self.track.say(f"about {mean:.0f} s of training a trial, going by {by}: {whole:.0f} min in all")
        self.track.say(sweep_report.header("trial", self.metric))

    def begin(self, point: dict) -> Trial:
        one = self.trial(point)
        with self.track.lock:
            run = self._run(one)
            missing = [stage for stage in one.own() if not stage.finished(self.work_dir)]
            self.track.parents |= {stage.hash: run for stage in one.own()}
            self.begun[one.key] = (time.monotonic(), missing)
            self.track.screen.hush(one.own())
            self.track.begin(missing)
        return one

    def end(self, point: dict, numbers: dict) -> None:
        one = self.trial(point)
        numbers = {k: v for k, v in numbers.items() if k.removesuffix("_deviation") in NUMBERS}
        began, missing = self.begun[one.key]
        with self.track.lock:
            self._end_stages(one, "KILLED")
            self._close(one, numbers)
        self.errors.pop(one.key, None)  # tpe may try a point again
        self.rows[one.key] = {"point": point, "key": one.key, "settings": one.own()[0].hash} | numbers
        if missing:
            self.spent["made"] += 1
            self.spent["training"] += numbers.get("seconds", 0.0)
        self.spent["trained"] = time.monotonic() - self.started
        self._say(one, numbers, time.monotonic() - began, bool(missing))

    def failed(self, point: dict, error: Exception) -> None:
        one = self.trial(point)
        if one.key not in self.begun:  # its process was lost before it began
            self.begin(point)
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        self.errors[one.key] = (point, f"{type(error).__name__}: {text}")
        self.done += 1
        with self.track.lock:
            self._end_stages(one, "FAILED")
            run = self._run(one)
            self.track.client.set_tag(run, "error", text[:5000])
            self.track.client.set_terminated(run, "FAILED")
        self.track.say(f"{one.name}: failed, {self.errors[one.key][1]}")

    def _end_stages(self, one: Trial, status: str) -> None:
        """Finished stages into MLflow; the runs of the others are closed."""
        missing = self.begun[one.key][1]
        for stage in one.own():
            if stage.finished(self.work_dir):
                self.track.end(stage, reused=stage not in missing)
        self.track.leave([stage for stage in missing if not stage.finished(self.work_dir)], status)

    def _run(self, one: Trial) -> str:
        about = one.own()[0].about
        tags = {"stage": "trial", "sweep": self.track.key, "mlflow.parentRunId": self.track.pipeline}
        tags |= {key: str(about[key]) for key in ("source", "target", "recipe", "method")}
        key = hashlib.sha256(f"{self.track.key} {one.key}".encode()).hexdigest()[:16]
        params = {
            "seeds": str(self.own["seeds"]),
            **logged.flat(one.settings[0][one.method], f"{one.method}."),
            **one.point,
        }
        return self.track.store.run(key, one.name, tags, params)

    def _close(self, one: Trial, numbers: dict) -> None:
        run = self._run(one)
        if "stopped" not in numbers and "stopped" in self.track.client.get_run(run).data.metrics:
            numbers = numbers | {"stopped": 0.0}  # another command has gone on with it; MLflow takes no metric away
        self.track.store.log(run, numbers)
        if self.track.store.status(run) != "FINISHED":
            self.track.client.set_terminated(run, "FINISHED")

    def _say(self, one: Trial, numbers: dict, seconds: float, made: bool) -> None:
        self.done += 1
        left = (self.count - self.done) * (time.monotonic() - self.started) / self.done
        note = f"{seconds:.0f} s" if made else "reused"
        note += f", stopped at step {numbers['stopped']:.0f}" if "stopped" in numbers else ""
        note += f"; about {left / 60:.0f} min left" if made and left >= 60 else ""
        self.track.say(sweep_report.line(f"{self.done}/{self.count}", one.point, numbers, self.metric, note))

    def finish(self) -> str:
        """Tables, charts, the best model, and the sweep's run; what to print."""
        rows = sorted(self.rows.values(), key=lambda row: row.get(self.metric, -1), reverse=True)
        best, began = sweeps.best(rows, self.metric), time.monotonic()
        if best is None:
            why = "; ".join(dict.fromkeys(text for _, text in self.errors.values())) or f"none has {self.metric}"
            raise ValueError(f"no trial has come to its end: {why}")
        with self.track.alone(), self.track.lock:
            csv = results.write_csv(self.work_dir, self.track.run_ids())
            table = self.folder / "trials.csv"
            sweep_report.write_rows(table, rows)
            model = self._champion(best)
            spent = self._seconds() | {"views": time.monotonic() - began}
            text = sweep_report.text(self.own, self.base, rows, best, list(self.errors.values()), spent, self.at_once)
            place = [f"work_dir={self.work_dir}"] * (self.work_dir != Path("outputs").absolute())
            text += f"\nagain: {sweeps.command_line(best, [*self.given, *place], self.own)}\nmodel: {model}"
            report = self.folder / "report.txt"
            files.write_whole(report, io.BytesIO(f"{text}\n".encode()))
            numbers = {f"best/{name}": value for name, value in best.items() if name in NUMBERS}
            if (agreement := sweeps.correlation(rows)) is not None:
                numbers["rank_correlation"] = agreement
            numbers |= {f"seconds/{name}": value for name, value in spent.items()}
            self.track.finish(numbers, self._charts(rows, agreement), [table, report, csv], text)
        return f"{text}\n{table}; pictures in {self.work_dir / 'figures'}"

    def _champion(self, best: dict) -> str:
        """Register the best trial's model (of its first seed); its name with the alias."""
        from pipelines import models

        one = self.trial(best["point"])
        stage = one.own()[0]
        return models.keep(self.track.store, stage, "champion")

    def _charts(self, rows: list[dict], agreement: float | None) -> list[Path]:
        title = sweeps.headline(self.own, self.base)
        pair = (self.base["source"]["name"], self.base["target"]["name"])
        real = sweeps.on_real_data(self.trial(rows[0]["point"]))
        drawn, rows = {}, [row for row in rows if "stopped" not in row]
        for option in self.own["space"]:
            published = sweep_charts.PUBLISHED.get(pair, {}).get(option) if real else None
            drawn[f"over_{option}"] = sweep_charts.curves(option, rows, title, published)
        if len(self.own["space"]) == 2 and self.own["search"] == "grid":
            for metric in dict.fromkeys(("mAP", self.metric)):
                drawn[f"{metric}_heat_map"] = sweep_charts.heat_map(tuple(self.own["space"]), rows, metric, title)
        if agreement is not None:
            drawn["with_and_without_labels"] = sweep_charts.agreement(rows, agreement, title)
        paths = []
        for name, figure in drawn.items():
            paths.append(self.work_dir / "figures" / f"sweep-{self.track.key}-{name}.png")
            save(paths[-1], figure)
        return paths

    def _seconds(self) -> dict[str, float]:
        spent, made = self.spent, self.spent["made"]
        beyond = max(0.0, spent["trained"] * self.at_once - spent["training"]) / made if made else 0.0
        return {
            "shared": spent["shared"],
            "trials": spent["trained"],
            "training": spent["training"],
            "beyond": beyond,
        }
