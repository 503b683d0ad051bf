"""android_bench --host: the matrix on this computer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from adbd import tiny_model

from ser_kd.commands.bench import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    (folder / "cheap.tflite").write_bytes(tiny_model(16))
    (folder / "dear.tflite").write_bytes(tiny_model(1024))
    return [str(folder / "cheap.tflite"), str(folder / "dear.tflite")]


@pytest.fixture
def bench(tmp_path, capsys):
    def run(*arguments):
        status = main([*map(str, arguments), "--host", "--out", str(tmp_path), "--cooldown", "0"])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def results(tmp_path):
    return json.loads((tmp_path / "bench_host.json").read_text())["results"]


def test_models_take_turns_and_are_compared(bench, models, tmp_path):
    pytest.importorskip("ai_edge_litert")
    status, out, err = bench(
        *models, "--compare", "--runs", 25, "--repetitions", 2, "--xnnpack", "on,off"
    )
    assert (status, err) == (0, "")
    found = results(tmp_path)
    assert len(found) == 8
    for record in found:
        timings = record["timings"]
        assert timings["count"] == 25
        assert timings["min_ms"] <= timings["p5_ms"] <= timings["median_ms"]
        assert timings["median_ms"] <= timings["p95_ms"] <= timings["max_ms"]
        assert timings["init_ms"] > 0
        # A process of its own: Python, NumPy and the runtime, without this process's TensorFlow.
        assert 15 < record["memory"]["peak_mb"] < 200
    medians = {
        name: [item["timings"]["median_ms"] for item in found if item["model"] == name]
        for name in ("cheap.tflite", "dear.tflite")
    }
    assert min(medians["dear.tflite"]) > 5 * max(medians["cheap.tflite"])
    assert "THIS COMPUTER" in out
    ratios = [line.split() for line in out.splitlines() if line.startswith(("cheap", "dear"))]
    ratios = [words for words in ratios if len(words) == 6]
    assert [float(words[4]) for words in ratios if words[0] == "cheap.tflite"] == [1.0, 1.0]
    assert all(float(words[4]) > 5 for words in ratios if words[0] == "dear.tflite")
    # Nothing is left to do.
    status, out, _ = bench(*models, "--runs", 25, "--repetitions", 2, "--xnnpack", "on", "--resume")
    assert status == 0
    assert "median\n" not in out
    assert len(results(tmp_path)) == 8


def test_what_cannot_be_had_here_is_said(bench, models, tmp_path):
    pytest.importorskip("ai_edge_litert")
    status, out, _ = bench(models[0], "--delegate", "cpu,gpu", "--repetitions", 1, "--runs", 5)
    assert status == 1
    assert {item["delegate"]: item["state"] for item in results(tmp_path)} == {
        "cpu": "ok",
        "gpu": "unsupported",
    }
    assert "there is no gpu delegate on this computer" in out


def test_a_model_that_cannot_run_does_not_stop_the_rest(tmp_path, models, capsys):
    pytest.importorskip("ai_edge_litert")
    arguments = [models[0], "--host", "--out", str(tmp_path), "--repetitions", "1", "--runs", "5"]
    assert main([*arguments, "--", "--signature_to_run_for=nope"]) == 1
    (record,) = results(tmp_path)
    assert record["state"] == "failed"
    assert "nope" in record["reason"]
    assert "Traceback" not in capsys.readouterr().err
    assert main([*arguments, "--", "--min_secs=1"]) == 2
    assert "--min_secs=1 is a flag of the phone's tool" in capsys.readouterr().err


def test_without_the_runtime_there_is_one_line(models, tmp_path):
    command = [sys.executable, "-S", "-m", "android_bench", models[0], "--host", "--out", tmp_path]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == ("error: ai-edge-litert is not installed: pip install ai-edge-litert\n")
    assert result.stdout == ""
