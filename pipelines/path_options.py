"""Options that name a file, a folder or a store: how they are read, refused, and made to mean one place in every process."""

import os
import re

PATHS = (
    "root",
    "work_dir",
    "weights",
    "to",
    "manifest",
    "stage_dir",
    "model",
    "query",
)  # options that name a file or folder


def quoted(argument: str) -> str:
    """A path or URI in quotes, as Hydra reads any text: its grammar has signs such as ~ and =, and 2024 would be a number."""
    option, equals, value = argument.partition("=")
    given = r"""'.*'|".*"|null|\$\{.*\}"""
    if option.rpartition(".")[2] not in (*PATHS, "uri") or re.fullmatch(given, value):
        return argument
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), value)
    return f"{option}{equals}'{escaped}'"


def check(name: str, value) -> None:
    """Refuse an empty path, and a work_dir that cannot be one."""
    if name.rpartition(".")[2] in PATHS and value == "":
        raise ValueError(f"{name} is empty; expected a path, or none of it on the command line")
    if name == "work_dir" and isinstance(value, str) and os.path.isfile(os.path.expanduser(value)):
        raise ValueError(f"work_dir is {value}, which is a file; expected a folder, there or not")
    if name == "work_dir" and isinstance(value, str) and (sign := re.search(r"\?|%[0-9a-fA-F]{2}", value)):
        raise ValueError(f"work_dir is {value}; expected a folder without {sign[0]}, which MLflow takes for a URI's")


def absolute(block: dict) -> dict:
    """~ as the home folder, and every path from this folder on as an absolute one: Ray's processes have folders of their own."""
    found = {key: absolute(value) if isinstance(value, dict) else value for key, value in block.items()}
    for key in {*PATHS} & {*found}:
        if found[key] and (key, found[key]) != ("weights", "imagenet"):
            path = os.path.expanduser(found[key])
            found[key] = path if key == "manifest" else os.path.abspath(path)
    manifest = found["reader"].get("manifest") if "reader" in found else None
    if manifest and not os.path.isfile(os.path.join(found["root"] or "", manifest)) and os.path.isfile(manifest):
        found["reader"]["manifest"] = os.path.abspath(manifest)  # of this folder, not of the data set's
    if str(found.get("uri")).startswith("sqlite:///"):
        found["uri"] = "sqlite:///" + os.path.abspath(os.path.expanduser(found["uri"].removeprefix("sqlite:///")))
    return found
