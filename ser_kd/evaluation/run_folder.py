"""What the folder of a model's run tells of it, where the model lies in one.

Nothing here needs TensorFlow: a .tflite is evaluated without.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_kd import files
from ser_kd.registry import load_object

if TYPE_CHECKING:
    from ser_kd.runs.folder import Run


def find_run_dir(model: Path) -> Path | None:
    """The folder of the run in which, or in whose ``export/``, the model lies."""
    folder = model.absolute().parent
    places = (folder, folder.parent)
    return next((place for place in places if (place / "config.json").is_file()), None)


def find_run(model: Path) -> "Run | None":
    """The run in whose folder, or in whose ``export/``, the model lies."""
    directory = find_run_dir(model)
    if directory is None:
        return None
    # By its place: what a run is made of needs TensorFlow (5 s).
    run: Run = load_object("ser_kd.runs.folder:Run").open(directory)
    return run


def stored_resources(own_run: "Run | None") -> dict[str, Any]:
    """The run's ``resources.json``; empty where there is none."""
    path = own_run.resources_path if own_run else None
    return files.read_json(path) if path and path.is_file() else {}


def training_history(own_run: "Run | None") -> list[dict[str, Any]]:
    """``epoch``, ``loss``, ``accuracy`` and ``validation_ua`` of every epoch."""
    path = own_run.history_path if own_run else None
    if not path or not path.is_file():
        return []
    epochs = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    keys = ("epoch", "loss", "accuracy", "validation_ua")
    return [{key: epoch.get(key) for key in keys} for epoch in epochs]
