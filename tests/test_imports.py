"""Imports run downward only, without circles (see the module docstrings for who needs whom)."""

import ast
import graphlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = {"ser_kd", "export", "android_bench", "benchmarks", "tests", "train"}
# The lower half of the house, in full: what each may import of ser_kd.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "files": set(),
    "progress": set(),
    "losses": set(),
    "layers": set(),
    "metrics": set(),
    "config": {"errors"},
    "audio": {"errors"},
    "features": {"config"},
    "acoustics": set(),
    "augment": {"acoustics", "config"},
    "student": {"config", "layers"},
    "distiller": {"losses"},
    "codecs": {"audio"},
    "views": {"audio", "codecs", "config", "errors"},
    "evaluation.corruptions": {"audio"},
    "evaluation.gates": set(),
    "evaluation.robustness": {
        "audio",
        "codecs",
        "evaluation.corruptions",
        "evaluation.gates",
        "metrics",
    },
    "evaluation.slices": {"corpora.clip", "metrics"},
    "evaluation.run_folder": {"files", "run"},
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path
    for package in ("ser_kd", "export", "android_bench")
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imports(path: Path) -> set[str]:
    """Modules named in import statements, those inside of functions included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            # "from package import name": the module is package.name where that is one.
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = names & set(MODULES)
            found |= modules
            if len(modules) < len(names):
                found.add(str(node.module))
    return found


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def foreign(path: Path) -> set[str]:
    return packages(path) - set(sys.stdlib_module_names) - PROJECT


def test_there_is_something_to_read():
    assert "ser_kd.data" in MODULES
    assert imports(MODULES["ser_kd.distillation.distiller"]) >= {
        "keras",
        "ser_kd.distillation.losses",
    }


def test_the_library_imports_neither_export_nor_bench_nor_script():
    for name, path in MODULES.items():
        if name.startswith("ser_kd"):
            assert packages(path) & PROJECT <= {"ser_kd"}, name


def test_the_bench_needs_nothing_but_the_standard_library():
    for name, path in MODULES.items():
        if name.startswith("android_bench"):
            assert packages(path) <= set(sys.stdlib_module_names) | {"android_bench"}, name
        if name.startswith("export"):
            assert "android_bench" not in packages(path), name


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_lower_modules_import_lower_modules_only(name):
    own = {item for item in imports(MODULES[f"ser_kd.{name}"]) if item.startswith("ser_kd")}
    assert own <= {f"ser_kd.{item}" for item in MAY_IMPORT[name]}


def test_metrics_are_numpy_and_scikit_learn_and_config_is_the_standard_library():
    assert foreign(MODULES["ser_kd.metrics"]) <= {"numpy", "sklearn"}
    for name in ("config", "errors", "progress"):
        assert not foreign(MODULES[f"ser_kd.{name}"]), name
    if "ser_kd.pipeline.run_table" in MODULES:
        assert not foreign(MODULES["ser_kd.pipeline.run_table"]) & {"tensorflow", "keras"}


def test_the_report_reads_json_only():
    for name, path in MODULES.items():
        if name.startswith("ser_kd.evaluation.report"):
            own = {item for item in imports(path) if item.startswith("ser_kd")}
            assert not foreign(path), name
            assert all(
                item == "ser_kd.files" or item.startswith("ser_kd.evaluation.report")
                for item in own
            ), name


def test_there_are_no_circles():
    # Importing a package's member runs the package's __init__ first; that edge is no statement.
    graph = {name: imports(path) & set(MODULES) - {name} for name, path in MODULES.items()}
    graphlib.TopologicalSorter(graph).prepare()


def test_importing_the_package_is_cheap():
    program = (
        "import sys, ser_kd; print(sorted({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
