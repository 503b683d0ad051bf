"""150 clips and a recipe made for CREMA-D: the student is no constant classifier."""

import json

import numpy as np
import pytest
from emotion_maker import EMOTIONS, write_emotions

from ser_kd import metrics
from ser_kd.audio.windows import Windowing
from ser_kd.config import load_config
from ser_kd.distillation.logmel_network import LogMelPredictor
from ser_kd.pipeline import students
from ser_kd.runs.folder import Run

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.mark.slow
def test_a_student_of_90_clips_learns_with_the_settings_of_crema_d(tmp_path):
    # Windows as long as the clips, not the recipe's 3 s: a third of the time.
    overrides = ["corpus.name=folder", f"corpus.data_dir={write_emotions(tmp_path / 'clips')}"]
    config = load_config("crema_d_cpu", [*overrides, "audio.window_seconds=1.0"])
    run = Run.create(config, tmp_path / "run")
    data = run.data()
    student = students.baseline_student(run, data)
    fits = json.loads((run.directory / "config.json").read_text())["fits"]
    assert fits == {"student, labels alone": {"clips": 90, "epochs": 50, "batch_size": 9}}
    history = (run.baseline_dir / "history.jsonl").read_text().splitlines()
    assert len(history) == 50
    # The last epoch, which nobody chose: validation runs with the moving statistics.
    assert json.loads(history[-1])["validation_ua"] > 0.6

    clips = data.logmel.select(data.ids("test"))
    predictor = LogMelPredictor(student, Windowing.of(config.audio, config.logmel))
    predicted = predictor.predict(clips)[0].argmax(1)
    truth = data.one_hot(clips.ids).argmax(1)
    assert len(np.unique(predicted)) == len(EMOTIONS)
    assert metrics.scores(truth, predicted)["ua"] > 0.6
