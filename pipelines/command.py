"""The front of every command: its options, Ctrl-C, and errors turned into clear lines.

Exit codes: 0 done, 2 bad input (one to three lines on stderr, no traceback), 130 Ctrl-C, 143 SIGTERM (as a queue sends when it
takes a machine away), 1 a bug (with its traceback).
"""

import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipelines import options

# Read by OpenMP when torch is imported, here and in Ray's workers. By default a thread that waits for the others spins so long that
# two threads on a machine with one core to spare take many times as long as one; so few turns cost nothing where both are free.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

ADVICE = "\nmake space on that disk and give the same command again: what is finished is kept"
STOP_SECONDS = 8  # what a stop may take: Ray's processes, MLflow's runs


@contextmanager
def stoppable() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the block in order, say what is kept and exit 130 or 143; after STOP_SECONDS it ends in any case.

    The first one only: another one would break into what the first is putting in order.
    """
    ends, code = (signal.SIGINT, signal.SIGTERM), 0
    forced = " (without force)" * any(argument.startswith("force=") for argument in sys.argv)
    stopped = f"stopped; finished stages and checkpoints are kept, the same command{forced} goes on from them\n"

    def give_up() -> None:
        os.write(2, stopped.encode())
        os._exit(code)

    def interrupt(signum, frame) -> None:
        nonlocal code
        code = 128 + signum
        for one in ends:
            signal.signal(one, signal.SIG_IGN)
        timer = threading.Timer(STOP_SECONDS, give_up)
        timer.daemon = True
        timer.start()
        raise KeyboardInterrupt

    before = {one: signal.signal(one, interrupt) for one in ends}
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(stopped)
        sys.exit(code or 130)
    finally:
        for one, handler in before.items():
            if signal.getsignal(one) is interrupt:
                signal.signal(one, handler)


@stoppable()
def main(story: Callable[[dict], None]) -> None:
    """Run `story(settings)` on the composed settings, as the program. --help, --cfg job and --info are Hydra's."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # or Hydra prints and exits 1 by itself
    import hydra
    from omegaconf import DictConfig, OmegaConf

    arguments = list(map(options.long_name, sys.argv[1:]))
    _refuse_taken_away(arguments)
    for group, meant in (("method", "methods=[{}]"), ("loss", "identity_loss={}")):
        if slip := next((argument for argument in arguments if argument.startswith(f"{group}=")), None):
            value = slip.partition("=")[2].strip("[]")
            fail(f"unknown option '{group}'; did you mean {meant.format(value)}?")
    if helped := {"--help", "-h"} & set(arguments):  # Hydra's help composes, and two groups have no default
        arguments = [*helped, "source=market", "target=duke", *(a for a in arguments if a not in helped)]
    blocks = options.all_blocks()  # on the same side of a flag as the other options: argparse wants them together
    sys.argv[1:] = [*arguments, *blocks] if arguments[:1] and arguments[0].startswith("-") else [*blocks, *arguments]
    found = []

    @hydra.main(version_base="1.3", config_path=str(options.CONF), config_name="config")
    def program(cfg: DictConfig) -> None:
        found.append(cfg)

    with clear_errors():
        program()
        for cfg in found:  # none after --help; outside Hydra, which would add lines of its own to an error
            story(options.plain(OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)))


@stoppable()
def many_main(story: Callable[[dict, Callable], None], name: str, taken: dict[str, str], cluster: str) -> None:
    """Run `story(own, compose)` as the program: own settings are conf/<name>.yaml's, compose(more) those of run.py.

    own["given"] are the options of run.py on the command line that change what is computed, own["space"] what is searched
    ('sweep.space.<option>=values').

    Args:
        taken: options of run.py that this command sets itself -> what to say instead. cluster: the one used unless told.
    """
    from omegaconf import OmegaConf

    text = (options.CONF / f"{name}.yaml").read_text()
    keys = [*OmegaConf.to_container(OmegaConf.create(text)), "grid"]
    arguments = sys.argv[1:]
    if {"--help", "-h"} & set(arguments):
        print(
            f"{text}\nBesides, every option of run.py (pipelines/run.py --help); cluster={cluster} unless said otherwise."
        )
        return
    if flag := next((argument for argument in arguments if argument.startswith("-")), None):
        fail(f"{flag}: this command takes option=value, and --help")
    _refuse_taken_away(arguments)
    searched = [argument for argument in arguments if argument.startswith("sweep.space.")]
    arguments = [argument for argument in arguments if argument not in searched]
    arguments = [options.long_name(argument) for argument in arguments]
    own = [argument for argument in arguments if argument.partition("=")[0].partition(".")[0] in keys]
    rest = [argument for argument in arguments if argument not in own]
    if not any(argument.startswith("cluster=") for argument in rest):
        rest.insert(0, f"cluster={cluster}")
    with clear_errors():
        for argument in rest:
            if instead := taken.get(argument.partition("=")[0]):
                raise ValueError(f"{argument}: this command sets it itself; give {instead}")
        aside = ("cluster", "work_dir", "tracking", "force")
        given = [argument for argument in rest if argument.partition("=")[0].partition(".")[0] not in aside]
        block = options.composed(name, own) | {"given": given}
        if name == "sweep":
            whole = any(argument.startswith("sweep=") for argument in own)
            shipped = block["sweep"]["space"] if whole or not searched else {}
            block["sweep"]["space"] = options.space(shipped, searched)
        story(block, lambda more: options.compose([*rest, *more]))


def _refuse_taken_away(arguments: list[str]) -> None:
    if away := next((argument for argument in arguments if argument.startswith("~")), None):
        fail(f"{away}: options cannot be taken away; expected another value, or null for one that may be left out")


def source_of_target(given: list[str]) -> list[str]:
    """Options for commands that do without a source, which run.py's want: the target stands for it, wherever it is."""
    named = {argument.partition("=")[0]: argument.partition("=")[2] for argument in given}
    if "source" in named:
        return []
    return [f"source={named.get('target', 'market')}", "source.root=${target.root}"]


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn what a user can mend into clear lines and an exit code."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        fail(hydra_error(error))
    except (ValueError, FloatingPointError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.strerror or error}: {error.filename or ''}".rstrip(": ") + _advice(error))
    except Exception as error:
        if "database or disk is full" in str(error):  # how sqlite says it, through MLflow
            fail(f"no space left on the disk of MLflow's database{ADVICE}")
        if "MlflowException" in [kind.__name__ for kind in type(error).__mro__]:
            fail(f"MLflow at tracking.uri: {str(error).splitlines()[0]}")
        raise


def fail(text: str) -> None:
    print(f"error: {text}", file=sys.stderr)
    sys.exit(2)


def _advice(error: OSError) -> str:
    from pipelines.cache import disk_full

    return ADVICE if disk_full(error) else ""


def hydra_error(error: Exception) -> str:
    """Hydra's and OmegaConf's messages, said in one or two lines with the nearest name that exists."""
    text = str(error).strip()
    if "Could not override 'gan.root'" in text:
        return "gan.root is the folder of ready camera styles: give gan=folder with it"
    if found := re.search(r"Could not override '([^']+)'", text):
        return f"unknown option '{found[1]}'{options.nearest(found[1])}; --help lists all options"
    if found := re.search(r"Could not find '([^/']+)/([^']*)'", text):
        group, choice = found[1], found[2]
        known = sorted(path.stem for path in (options.CONF / group).glob("*.yaml"))
        return f"unknown {group} '{choice}'{options.did_you_mean(choice, known)}; there are {', '.join(known)}"
    if found := re.search(r"You must specify '([^']+)'", text):
        known = sorted(path.stem for path in (options.CONF / found[1]).glob("*.yaml"))
        return f"which {found[1]}? give {found[1]}=NAME, one of {', '.join(known)}"
    lines = [
        line.strip()
        for line in text.splitlines()
        if line.strip() and "full_key" not in line and "object_type" not in line
    ]
    return " ".join(lines[:2])
