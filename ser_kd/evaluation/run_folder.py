"""What the folder of a model's run tells of it, where the model lies in one."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_kd import files

# ``ser_kd.run`` needs TensorFlow (5 s): a .tflite outside of a run's folder does without.
if TYPE_CHECKING:
    from ser_kd.runs.folder import Run


def find_run(model: Path) -> "Run | None":
    """The run in whose folder, or in whose ``export/``, the model lies."""
    folder = model.absolute().parent
    for place in (folder, folder.parent):
        if (place / "config.json").is_file():
            from ser_kd.runs.folder import Run

            return Run.open(place)
    return None


def stored_resources(own_run: "Run | None") -> dict[str, Any]:
    """The run's ``resources.json``; empty where there is none."""
    path = own_run.directory / "resources.json" if own_run else None
    return files.read_json(path) if path and path.is_file() else {}


def exported_family(own_run: "Run | None") -> list[dict[str, Any]]:
    """``name``, ``ua``, ``latency_ms`` and ``bytes`` of every exported file."""
    path = own_run.export_dir / "export.json" if own_run else None
    if not path or not path.is_file():
        return []
    keys = ("ua", "latency_ms", "bytes")
    return [
        {"name": name, **{key: figures.get(key) for key in keys}}
        for name, figures in files.read_json(path)["models"].items()
    ]


def training_history(own_run: "Run | None") -> list[dict[str, Any]]:
    """``epoch``, ``loss``, ``accuracy`` and ``validation_ua`` of every epoch."""
    path = own_run.directory / "history.jsonl" if own_run else None
    if not path or not path.is_file():
        return []
    epochs = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    keys = ("epoch", "loss", "accuracy", "validation_ua")
    return [{key: epoch.get(key) for key in keys} for epoch in epochs]
