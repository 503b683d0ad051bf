"""Size, time and memory of everything that a run made: ``resources.json``."""

from pathlib import Path
from typing import Any

from ser_kd import files
from ser_kd.evaluation.run_models import student_files
from ser_kd.inference.measure import Example, measure_all
from ser_kd.progress import say
from ser_kd.runs.folder import Run
from ser_kd.teachers.base import teacher_class
from ser_kd.teachers.saved import load_network


def measure_run(run: Run) -> dict[str, Any]:
    """Measures teachers and students in turns, each in a process of its own.

    A teacher is all of its networks (folds x members): their sizes add up, and they run one after
    the other. A fusion teacher's are its own, without those of the teachers that it learns from.
    Teachers whose predictions came from a file or from another one's networks are not here.

    Returns:
        By model, as in ``eval.json``: ``parameters``, ``bytes`` and what ``measure_all`` gives.
    """
    models: dict[str, list[Path]] = {}
    examples: list[Example | None] = []
    for name, teacher in run.config.teachers.items():
        if networks := sorted(run.teacher_dir(name).glob("fold_*/*.keras")):
            models[f"teacher {name}"] = networks
            examples.append(teacher_class(teacher).example_input(teacher, run.config.audio))
    students = student_files(run)
    models |= {name: [path] for name, path in students.items()}
    examples += [None] * len(students)
    path = run.resources_path
    if files.is_current(path, [file for paths in models.values() for file in paths]):
        say(f"  {path} is there")
        known: dict[str, Any] = files.read_json(path)
        return known
    measured = measure_all(list(models.values()), examples)
    result = {
        name: {
            "parameters": _parameters(run, paths),
            "bytes": sum(path.stat().st_size for path in paths),
            **figures,
        }
        for (name, paths), figures in zip(models.items(), measured, strict=True)
    }
    files.write_json(path, result)
    return result


def _parameters(run: Run, paths: list[Path]) -> int:
    if paths[0].suffix == ".tflite":
        return int(load_network(run.student_path).count_params())
    return sum(int(load_network(path).count_params()) for path in paths)
