"""One's own cameras: a folder of crops for each, or a manifest that tells each crop's camera.

    camera_3/ ...crops, in sub-folders or not      camera_12/ ...      = for training, nobody is said who they show

or manifest.csv (see `reid_da.datasets.manifest`), which can tell persons and splits too and goes before folders.
"""

import os
import re

from reid_da.datasets import manifest as manifests
from reid_da.datasets.folders import CROPS
from reid_da.datasets.listed import files_below
from reid_da.records import UNLABELLED, Dataset, Record

CAMERA = re.compile(r"^camera_(\d+)$", re.ASCII)
WANTED = "camera_<number>/, a folder of crops for each camera, or manifest.csv with the columns path and camera"


def folder(root: str, manifest: str | None = None) -> Dataset:
    """Crops of one's own camera network, of any size, for training; for query and gallery too where a manifest says so.

    Args:
        root: the folder that holds manifest.csv or camera_<number>/ folders. Links in it are followed, also out of it.
        manifest: path of a manifest of another name or place, absolute or below `root`.

    Returns:
        Persons are UNLABELLED where nobody tells them. Query and gallery are empty unless the manifest has both. What
        lies in `root` and is no crop of a camera is in `unmatched`; a manifest's are told in `remarks` (see there).

    Raises:
        ValueError: no such folder, neither manifest nor camera folder, two folders of one number, a camera without a crop,
            or see `manifest.read`.
    """
    root = os.fspath(root)
    if not os.path.isdir(root):
        raise ValueError(f"{root}: no such folder\nexpected one that holds {WANTED}\nset the data set's root to it")
    path = os.path.join(root, manifest or "manifest.csv")
    if manifest or os.path.isfile(path):
        return manifests.read("folder", path)
    return _of_camera_folders(root)


def _of_camera_folders(root: str) -> Dataset:
    names = sorted(os.listdir(root))
    cameras = {name: int(match[1]) for name in names if (match := CAMERA.match(name))}
    cameras = {name: camera for name, camera in cameras.items() if os.path.isdir(os.path.join(root, name))}
    if not cameras:
        flat = any(name.lower().endswith(CROPS) for name in names)
        raise ValueError(
            f"{root}: no folder of a camera; {_some(names)}\nexpected {WANTED}\n"
            + "put the crops of each camera into a folder of its own, of one camera into camera_1" * flat
            + "name the folders after their cameras, or set the data set's root to the folder that holds them"
            * (not flat)
        )
    folders = {camera: name for name, camera in cameras.items()}
    if twice := [name for name, camera in cameras.items() if folders[camera] != name]:
        raise ValueError(
            f"{root}: {twice[0]} and {folders[cameras[twice[0]]]} are both camera {cameras[twice[0]]}\n"
            "expected a folder for each camera\nput them into one, or give one of them another number"
        )
    # a folder's crops before a link's
    places = sorted((os.path.join(root, name) for name in cameras), key=os.path.islink)
    files, unmatched = files_below(root, first=places)
    records, found, hidden = [], set(), []
    for path in files:
        name, *below = os.path.relpath(path, root).split(os.sep)
        if path.lower().endswith(CROPS) and any(part.startswith((".", "@eaDir")) for part in (name, *below)):
            hidden.append(path)
        elif name in cameras and path.lower().endswith(CROPS):
            records.append(Record(path, UNLABELLED, cameras[name]))
            found.add(name)
        else:
            unmatched.append(path)
    if empty := [name for name in cameras if name not in found]:
        home = os.path.join(root, empty[0])
        if home in unmatched:
            raise ValueError(
                f"{home} leads to {os.path.realpath(home)}, which is read already\n"
                "expected crops of its own for each camera\nput them there, or take the link away"
            )
        others = [os.path.relpath(path, home) for path in sorted(unmatched) if path.startswith(home + os.sep)]
        raise ValueError(
            f"{root}: no crop in {', '.join(empty)}; {empty[0]}: {_some(others)}\n"
            f"expected crops ({', '.join(CROPS)}) there, in sub-folders or not\n"
            "put some there, or take the folder away"
        )
    told = [f"{len(hidden)} hidden images, as systems keep them, are left out, {hidden[0]} first"] if hidden else []
    return Dataset("folder", tuple(records), (), (), unmatched=tuple(sorted(unmatched)), remarks=tuple(told))


def _some(names: list[str]) -> str:
    """What lies there, in a few words."""
    return f"it holds {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}" if names else "it is empty"
