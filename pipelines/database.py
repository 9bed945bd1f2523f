"""The sqlite database of a work_dir's own MLflow store: made whole or not at all, and right again where the work_dir was moved."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

EXPERIMENT, FOLDER = "reid-da", "mlartifacts"
# Where MLflow writes down, as absolute URIs, in which folder artifacts lie.
PLACES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}


def artifacts(database: Path) -> str:
    """URI of the folder beside it in which its artifacts lie."""
    return database.absolute().with_name(FOLDER).as_uri()


def make(database: Path) -> None:
    """Make it, unless it is there: MLflow cannot mend one that a kill left in the middle of its migrations."""
    if database.exists():
        return
    from mlflow.tracking import MlflowClient

    new = database.with_name(f"{database.name}.tmp")
    for half in database.parent.glob(f"{new.name}*"):
        half.unlink()
    MlflowClient(f"sqlite:///{new}").search_experiments(max_results=1)
    os.replace(new, database)


def follow(database: Path) -> None:
    """Put the folder beside it in place of the one in which artifacts lay before the work_dir was moved or copied.

    Artifacts that somebody put elsewhere, such as an MLflow server that was started on this database, stay there.

    Raises:
        ValueError: the file is no database.
    """
    try:
        with closing(sqlite3.connect(database, timeout=60)) as store, store:
            _follow(store, artifacts(database))
    except sqlite3.DatabaseError as error:
        if "full" in str(error):
            raise
        raise ValueError(
            f"{database}: {error}; expected the database of MLflow: move it away, or give another work_dir"
        ) from error


def _follow(store: sqlite3.Connection, here: str) -> None:
    tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "experiments" not in tables:  # MLflow will make them
        return
    found = store.execute("SELECT artifact_location FROM experiments WHERE name = ?", (EXPERIMENT,)).fetchone()
    before = found[0] if found else here
    if before == here or not (before.startswith("file:") and before.endswith(f"/{FOLDER}")):
        return
    for table in PLACES.keys() & tables:
        for column in PLACES[table]:
            inside = f"{column} = :before OR substr({column}, 1, length(:before) + 1) = :before || '/'"
            moved = f":here || substr({column}, length(:before) + 1)"
            store.execute(f"UPDATE {table} SET {column} = {moved} WHERE {inside}", {"here": here, "before": before})
