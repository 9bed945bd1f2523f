"""Options that name a file, a folder or a store: how they are read, refused, and made to mean one place in every process."""

import copy
import os
import re

SETTINGS = (  # options of run.py that name a file or folder
    *("work_dir", "data.root", "data.stage_dir", "source.root", "target.root", "gan.root", "backbone.weights"),
    *("measures.backbone.weights", "source.reader.manifest", "target.reader.manifest"),
)
OWN = ("to", "model", "query")  # of other commands
STORE = "tracking.uri"


def quoted(argument: str) -> str:
    """A path or URI in quotes, as Hydra reads any text: its grammar has signs such as ~ and =, and 2024 would be a number."""
    option, equals, value = argument.partition("=")
    given = r"""'.*'|".*"|null|\$\{.*\}"""
    if option not in (*SETTINGS, *OWN, STORE) or re.fullmatch(given, value):
        return argument
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), value)
    return f"{option}{equals}'{escaped}'"


def check(name: str, value) -> None:
    """Refuse an empty path, and a work_dir that cannot be one."""
    if name in SETTINGS and value == "":
        raise ValueError(f"{name} is empty; expected a path, or none of it on the command line")
    if name != "work_dir" or not isinstance(value, str):
        return
    if os.path.isfile(os.path.expanduser(value)):
        raise ValueError(f"work_dir is {value}, which is a file; expected a folder, there or not")
    if sign := re.search(r"\?|%[0-9a-fA-F]{2}", value):
        raise ValueError(f"work_dir is {value}; expected a folder without {sign[0]}, which MLflow takes for a URI's")


def absolute(settings: dict) -> dict:
    """~ as the home folder, and every path from this folder on as an absolute one: Ray's processes have folders of their own."""
    settings = copy.deepcopy(settings)
    for name in SETTINGS:
        *blocks, last = name.split(".")
        block = settings
        for key in blocks:
            block = block.get(key) or {}
        path = block.get(last)
        if not path or (last, path) == ("weights", "imagenet"):
            continue
        path = os.path.expanduser(path)
        in_its_folder = last == "manifest" and os.path.isfile(os.path.join(settings[blocks[0]]["root"] or "", path))
        if last != "manifest" or (not in_its_folder and os.path.isfile(path)):  # of this folder, not of the data set's
            path = os.path.abspath(path)
        block[last] = path
    uri = settings["tracking"]["uri"]
    if str(uri).startswith("sqlite:///"):
        settings["tracking"]["uri"] = "sqlite:///" + os.path.abspath(os.path.expanduser(uri.removeprefix("sqlite:///")))
    return settings
