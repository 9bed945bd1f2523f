"""The sqlite database of a work_dir's own MLflow store: made whole or not at all, and right again where the work_dir was moved.

Called by store.py and saved.py, under the work_dir's mlflow.lock.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

EXPERIMENT = "reid-da"
# Where MLflow writes down, as absolute URIs, in which folder artifacts lie.
PLACES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}


def artifacts(database: Path) -> str:
    """URI of the folder beside it in which its artifacts lie."""
    return database.absolute().with_name("mlartifacts").as_uri()


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
    """Put the folder beside it in place of the one in which artifacts lay before the work_dir was moved or copied."""
    here = artifacts(database)
    with closing(sqlite3.connect(database, timeout=60)) as store, store:
        found = store.execute("SELECT artifact_location FROM experiments WHERE name = ?", (EXPERIMENT,)).fetchone()
        before = found[0] if found else here
        if before == here:
            return
        for table, columns in PLACES.items():
            for column in columns:
                inside = f"{column} = :before OR substr({column}, 1, length(:before) + 1) = :before || '/'"
                moved = f":here || substr({column}, length(:before) + 1)"
                store.execute(f"UPDATE {table} SET {column} = {moved} WHERE {inside}", {"here": here, "before": before})
