"""The ablation: what a variant sets, what its rows say, the report of finished runs."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from ser_kd.config import load_config

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "ablation.py"
spec = importlib.util.spec_from_file_location("ablation", SCRIPT)
ablation = importlib.util.module_from_spec(spec)
sys.modules["ablation"] = ablation
spec.loader.exec_module(ablation)


def finished_run(folder: Path, scores: list[float]) -> None:
    folder.mkdir(parents=True)
    lines = [
        json.dumps({"epoch": n, "validation_ua": score}) for n, score in enumerate(scores, start=1)
    ]
    (folder / "history.jsonl").write_text("\n".join(lines))
    models = {
        "student, labels alone": {"ua": max(scores)},
        "student, labels alone, int8": {"ua": 0.5},
    }
    (folder / "eval.json").write_text(json.dumps({"parts": {"validation": {"models": models}}}))


@pytest.mark.parametrize("variant", ablation.VARIANTS, ids=lambda variant: variant.name)
def test_every_variant_is_a_recipe_that_loads(variant):
    config = load_config("crema_d_labels", list(ablation.settings_of(variant.name)))
    assert config.fit.epochs == (48 if variant.name == "epochs_48" else 24)


def test_a_variant_has_its_parents_settings_and_its_own_win():
    settings = ablation.settings_of("temperature_2")
    assert settings.index("distill.temperature=1.0") < settings.index("distill.temperature=2.0")
    assert load_config("crema_d_labels", list(settings)).distill.temperature == 2.0


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ([2.0], "screen"),
        ([2.0, 2.1], "screen"),
        ([2.0, 2.1, 1.9], "better"),
        ([-2.0, -2.1, -1.9], "worse"),
        ([2.0, -2.1, 0.3], "not shown"),
    ],
)
def test_what_differences_allow_to_say(gains, expected):
    assert ablation.reading(gains) == expected


def test_interval_is_students_t():
    mean, half = ablation.mean_and_interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert half == pytest.approx(4.302653 / 3**0.5)  # t(0.975, 2), deviation 1


def test_report_scores_the_last_epochs_and_takes_differences_by_seed(tmp_path, capsys):
    for seed, gain in enumerate((0.02, 0.021, 0.019)):
        finished_run(tmp_path / f"base_{seed}", [0.9, 0.6, 0.6])  # the best epoch does not count
        finished_run(tmp_path / f"mels_40_{seed}", [0.1, 0.6 + gain, 0.6 + gain])
    arguments = [
        "--report",
        "--runs",
        str(tmp_path),
        "--last",
        "2",
        "--variants",
        "base",
        "mels_40",
    ]
    ablation.main(arguments)
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    rows = {(row["variant"], row["seed"]): row for row in result["rows"]}
    assert len(rows) == 6
    assert rows["base", 0]["ua"] == pytest.approx(0.6)
    assert rows["base", 0]["best_ua"] == pytest.approx(0.9)
    text = (tmp_path / "ablation.md").read_text()
    (line,) = [line for line in text.splitlines() if "mels_40" in line]
    assert "+2.0" in line
    assert "better" in line
    assert "mels_40" in (tmp_path / "ablation.svg").read_text()


def test_a_misspelt_variant_and_missing_runs_are_said(tmp_path):
    with pytest.raises(SystemExit, match="no variant 'mels_41'"):
        ablation.main(["--report", "--variants", "mels_41"])
    with pytest.raises(SystemExit, match="no finished run"):
        ablation.main(["--report", "--runs", str(tmp_path)])
