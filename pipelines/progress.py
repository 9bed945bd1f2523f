"""What the screen shows: a progress bar for whatever stage is being worked on, and a line for each that is done.

It reads the stages' metrics.jsonl, so it works alike for a stage made in this process, by Ray, or on another machine.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from pipelines.cache import Stage
from pipelines.files import last_line


def bar(items: Iterable, total: int, what: str, unit: str) -> Iterator:
    """The items, with a bar on a terminal of how many have come."""
    return iter(tqdm(items, desc=what, total=total, unit=unit, leave=False, dynamic_ncols=True, disable=None))


class Screen:
    """Bars and lines on stderr, from a thread that looks twice a second.

    Args:
        remarks: remarks(stage) -> lines to tell as soon as a stage is seen to be made, though its launch has more to do.
    """

    def __init__(self, work_dir: Path, remarks: Callable[[Stage], list[str]] | None = None):
        self.work_dir, self.remarks, self.began, self.bars = work_dir, remarks, {}, {}
        self.said: set[str] = set()
        self.active: list[list[Stage]] = []  # what is made together, one after the other
        self.untold: set[str] = set()
        self.lock, self.stop = threading.Lock(), threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *error) -> None:
        self.stop.set()
        self.thread.join()
        for _, bar in self.bars.values():
            bar.close()

    def say(self, line: str) -> None:
        """A line, once: what has been said is known."""
        with self.lock:
            self._say(line)

    def _say(self, line: str) -> None:
        if line not in self.said:
            self.said.add(line)
            tqdm.write(line, file=sys.stderr)

    def hush(self, stages: list[Stage]) -> None:
        """Show bars for them, and no line when they are done: somebody else has one."""
        with self.lock:
            self.untold |= {stage.hash for stage in stages}

    def begin(self, stages: list[Stage]) -> None:
        with self.lock:
            self.active.append(list(stages))
            self.began |= {stage.hash: time.perf_counter() for stage in stages}

    def end(self, stage: Stage, reused: bool) -> None:
        with self.lock:
            self._done(stage, reused)

    def leave(self, stages: list[Stage]) -> None:
        """Look no longer at stages that will not be finished."""
        with self.lock:
            for stage in stages:
                self._drop(stage)

    def _watch(self) -> None:
        while not self.stop.wait(0.5):
            with self.lock:
                for group in list(self.active):
                    for stage in list(group):
                        self._look(stage)
                        if stage.finished(self.work_dir):
                            self._done(stage, reused=False)
                            self._remark(stage)
                            for later in group:  # one begins when the one before is done
                                self.began[later.hash] = time.perf_counter()

    def _remark(self, stage: Stage) -> None:
        with suppress(ValueError):  # what is refused is told by the command
            for line in self.remarks(stage) if self.remarks else ():
                self._say(line)

    def _look(self, stage: Stage) -> None:
        last = last_line(stage.part(self.work_dir) / "metrics.jsonl")
        if not last:
            return
        title = " ".join(filter(None, (_title(stage), last["phase"])))
        shown, bar = self.bars.get(stage.hash, ("", None))
        if shown != title:
            if bar:
                bar.close()
            bar = tqdm(total=last["total"], desc=title, leave=False, dynamic_ncols=True, disable=None)  # none in a file
            self.bars[stage.hash] = (title, bar)
        bar.n = last["step"]
        losses = {name.removeprefix("loss/"): f"{value:.3f}" for name, value in last.items() if name.startswith("loss")}
        bar.set_postfix(dict(list(losses.items())[:3]))

    def _done(self, stage: Stage, reused: bool) -> None:
        if not reused and not any(stage in group for group in self.active):
            return
        seconds = time.perf_counter() - self.began.get(stage.hash, 0)
        text = "reused" if reused else f"made in {seconds:.0f} s"
        if stage.hash not in self.untold:
            tqdm.write(f"{_title(stage):<14} {text}", file=sys.stderr)
        self._drop(stage)

    def _drop(self, stage: Stage) -> None:
        if stage.hash in self.bars:
            self.bars.pop(stage.hash)[1].close()
        for group in self.active:
            if stage in group:
                group.remove(stage)
        self.active = [group for group in self.active if group]


def _title(stage: Stage) -> str:
    """ "hhl hhl.styles=redrawn"; the styles' label says their kind already."""
    variant = stage.about.get("variant", "default")
    return stage.label if variant == "default" or stage.name in ("styles", "measures") else f"{stage.label} {variant}"
