"""What readers of listed or nested files share: all files below a folder, and the lines of a list that name them."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor


def files_below(folder: str, first: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """Paths of all files below a folder, at any depth, and of what is no file; both sorted.

    Links are followed, to files and to folders. A folder is entered once, however many links lead to it, so that a link
    back to a folder above ends there: such a link, and one that leads nowhere, is no file.

    Args:
        first: folders in it, or links, that are entered before others: what lies there is theirs, if it can be reached twice.
    """
    files, strange, links = [], [], []
    root, entered = folder, {os.path.realpath(folder)}
    waiting = [root, *reversed(first)]
    while waiting or links:
        folder = waiting.pop() if waiting else links.pop(0)  # what a folder really holds comes before what is linked to
        if (real := os.path.realpath(folder)) in entered and folder is not root:
            strange.append(folder)
            continue
        entered.add(real)
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.path in first:
                continue
            if os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():
                (links if entry.is_symlink() else waiting).append(entry.path)
            else:
                (files if os.path.isfile(entry.path) else strange).append(entry.path)
    return sorted(files), sorted(strange)


def name_once(places: dict[str, str], path: str, place: str) -> None:
    """Notes that the line `place` ("list.txt, line 3") names `path`. Raises ValueError if another one has."""
    if path in places:
        raise ValueError(
            f"{place}: {path} stands in {places[path]} already\nexpected every image once\ntake one of the two lines out"
        )
    places[path] = place


def refuse_missing(places: dict[str, str], is_there: Callable[[str], bool]) -> None:
    """Raises ValueError if files that lines name are not there: how many, and the first of them.

    is_there: asked for each path; by threads, since a shared disk answers many as fast as one.
    """
    with ThreadPoolExecutor(16) as pool:
        missing = [path for path, there in zip(places, pool.map(is_there, places), strict=True) if not there]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(places)} listed files are missing, first: {missing[0]}\n"
            f"expected a file there: it stands in {places[missing[0]]}\n"
            "copy or unpack the images again, or mend the list"
        )
