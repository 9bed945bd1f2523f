"""Imports point down only: DESIGN's layers, read from the source with ast."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EDGE = {"ray", "optuna", "mlflow", "hydra", "omegaconf"}
FILES = sorted(p for folder in ("reid_da", "gan", "pipelines") for p in (ROOT / folder).rglob("*.py"))

# What a file of reid_da may import of reid_da: those before it in this order, never one after it.
ORDER = [
    {"records", "distances", "sampling", "transfer"},
    {
        "distributed",
        "losses",
        "reranking",
        "protocol",
        "backbones",
        "coders",
        "feature_transfer",
        "drawing",
        "datasets",
        "images",
        "identity_losses",
        "decoding",
        "inspection",
    },
    {"augment", "ranking", "checkpoint", "retrieval", "distributions", "survey"},
    {"batches", "methods", "learner", "adabn", "style_measures", "camera_gap"},
    {"loop", "style_features"},
]
# The files of pipelines that know neither Ray nor MLflow nor Hydra, so that stages.run works without them.
PLAIN = {
    *(
        "graph",
        "identity",
        "variants",
        "late_options",
        "path_options",
        "idle_options",
        "data_limits",
        "refusals",
        "data_report",
        "stages",
        "cache",
        "data_stage",
        "device",
        "reading",
        "training",
        "evaluating",
        "scoring",
        "searching",
        "generator_pictures",
    ),
    *("styling", "shards", "local_copies", "ready_styles", "exporting", "measuring", "judging"),
    *("retrieving", "stopping", "files", "build", "results", "grids", "grid_views", "space", "sweeps", "budget"),
    *(
        "figures",
        "sheets",
        "charts",
        "feature_maps",
        "identity_charts",
        "interpolation",
        "sweep_charts",
        "sweep_report",
        "logged",
        "progress",
    ),
}
OWNERS = {
    "ray": {"cluster", "ray_jobs", "tuning"},
    "optuna": {"tuning"},
    "mlflow": {"tracking", "store", "database", "models", "saved"},
    "hydra": {"command", "options"},
    "omegaconf": {"command", "options"},
}


def imports(path: Path) -> list[str]:
    """Dotted names of all that the file imports, anywhere in it: `from a import b` gives a.b."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def rank(module: str) -> int:
    return next(i for i, level in enumerate(ORDER) if module in level)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_point_down(path):
    package, *inner = path.relative_to(ROOT).with_suffix("").parts
    for name in imports(path):
        top = name.split(".")[0]
        if package != "pipelines":
            assert top not in EDGE | {"pipelines", "tqdm", "filelock"}, f"{path} imports {name}"
        if package == "gan":
            assert top not in {"reid_da", "torchvision", "numpy"}, f"{path} imports {name}"
        if package == "reid_da":
            assert top != "gan", f"{path} imports {name}"
            if top == "reid_da" and inner != ["__init__"]:
                assert rank(name.split(".")[1]) <= rank(inner[0]), f"{path} imports {name}, which is above it"
        if package == "pipelines" and top in OWNERS:
            assert inner[0] in OWNERS[top], f"{path} imports {name}: only {OWNERS[top]} may"
        if name.startswith("torch.distributed"):
            assert inner == ["distributed"], f"{path} imports {name}: only distributed.py may"
        if top == "faiss":
            assert inner == ["retrieval"], f"{path} imports {name}: only retrieval.py may"


def test_plain_pipelines_import_nothing_of_the_edge():
    for name in PLAIN:
        for imported in imports(ROOT / "pipelines" / f"{name}.py"):
            assert imported.split(".")[0] not in EDGE, f"pipelines/{name}.py imports {imported}"
            if imported.startswith("pipelines."):
                assert imported.split(".")[1] in PLAIN, f"pipelines/{name}.py imports {imported}"


def test_faiss_is_imported_on_use_only():
    tree = ast.parse((ROOT / "reid_da" / "retrieval.py").read_text())
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert "faiss" not in ast.unparse(top)


@pytest.mark.parametrize(
    "path", [p for p in FILES if "pipelines" not in p.parts], ids=lambda p: str(p.relative_to(ROOT))
)
def test_no_cfg_in_the_library(path):
    names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    arguments = {node.arg for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.arg)}
    assert "cfg" not in names | arguments


def test_no_bare_except():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"{path}:{node.lineno}"
