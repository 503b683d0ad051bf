"""Two teachers at two levels: the recipes, and a run from two teachers to a file that runs."""

import dataclasses
import functools
import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from corpus_maker import HZ_OF, settings, write_corpus

from ser_kd.audio import prosody
from ser_kd.audio.prosody import DESCRIPTORS, hop_samples
from ser_kd.config import Config, config_from_dict, load_config
from ser_kd.data.targets import Targets
from ser_kd.data.training_set import EmbeddingTargets
from ser_kd.export.run import export_run
from ser_kd.inference.predictor import Predictor
from ser_kd.pipeline import students
from ser_kd.pipeline.teachers import all_teacher_targets
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.teachers.settings import (
    EnsembleTeacherConfig,
    LinguisticTeacherConfig,
    ProsodicTeacherConfig,
)

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

WORDS = {"high": "oh yes", "low": "no no", "mid": "well"}
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "oh", "no", "yes", "well"]
FIT = {"epochs": 1, "batch_size": 6, "warmup_epochs": 0.5, "learning_rate": 0.005}
FOLDS = 2
RECIPES = [
    "demo_two_teachers",
    pytest.param(
        "crema_d_two_teachers",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("keras_hub") is None,
            reason="keras-hub is not installed: pip install -e '.[text]'",
        ),
    ),
]


@pytest.mark.parametrize("name", ["demo_two_teachers", "crema_d_two_teachers"])
def test_the_recipes_teach_at_both_levels(name):
    config = load_config(name)
    assert len(config.teachers) == 2
    assert set(config.distill.teachers) == set(config.teachers)
    assert set(config.distill.embedding_weights) == set(config.teachers)
    assert min(config.distill.embedding_weights.values()) > 0
    assert config.distill.logit_weight > 0
    # No network's targets are of speakers that it heard.
    assert not any(teacher.in_fold for teacher in config.teachers.values())


def test_the_demo_downloads_nothing():
    """Neither clips nor an encoder's weights."""
    config = load_config("demo_two_teachers")
    assert (config.corpus.name, config.corpus.data_dir) == ("demo", "")
    kinds = {type(teacher) for teacher in config.teachers.values()}
    assert kinds == {ProsodicTeacherConfig, EnsembleTeacherConfig}


def test_crema_ds_teachers_are_those_of_the_page():
    prosodic, linguistic = load_config("crema_d_two_teachers").teachers.values()
    assert isinstance(prosodic, ProsodicTeacherConfig)
    assert (prosodic.folds, prosodic.statistics) == (5, "speaker")
    assert isinstance(linguistic, LinguisticTeacherConfig)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Tones, and a table that says what was said; one take of each is enough."""
    folder = write_corpus(tmp_path_factory.mktemp("two_teachers") / "corpus")
    rows = ["path,speaker,emotion,text"]
    for path in folder.glob("*/*/1.wav"):
        path.unlink()
    for path in sorted(folder.glob("*/*/*.wav")):
        emotion, speaker, name = path.relative_to(folder).parts
        rows.append(f"{emotion}/{speaker}/{name},{speaker},{emotion},{WORDS[emotion]}")
    (folder / "clips.csv").write_text("\n".join(rows))
    return folder


def write_preset(folder: Path) -> Path:
    """A text encoder of random start."""
    models = pytest.importorskip("keras_hub").models
    keras.utils.set_random_seed(4)
    models.BertBackbone(
        vocabulary_size=len(VOCABULARY),
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=16,
    ).save_to_preset(str(folder))
    models.BertTokenizer(vocabulary=VOCABULARY, lowercase=True).save_to_preset(str(folder))
    return folder


def tiny(config: Config, corpus: Path) -> Config:
    """The recipe's losses and kinds of teachers, with small networks, on the made corpus."""
    teachers: dict[str, dict[str, Any]] = {}
    for name, teacher in config.teachers.items():
        table: dict[str, Any] = {"kind": teacher.kind, "folds": FOLDS, "fit": FIT}
        if isinstance(teacher, ProsodicTeacherConfig):
            table |= {"members": 1, "units": 8, "statistics": teacher.statistics}
        elif isinstance(teacher, EnsembleTeacherConfig):
            table |= {"members": 1, "student": {"kind": "cnn", "width": 0.25}}
        else:
            preset = write_preset(corpus.parent / "preset")
            table |= {"preset": str(preset), "max_tokens": 8, "projection": 4}
        teachers[name] = table
    table = settings(corpus, teachers=teachers, distill=dataclasses.asdict(config.distill))
    table["augment"]["mixup_alpha"] = 0.0  # a mixed clip has a part of the embeddings' loss only
    return config_from_dict(table)


Taught = tuple[Run, RunData, dict[str, Targets], keras.Model]


def zero_crossings(waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """In the place of pYIN, which takes half a minute to compile: enough to tell tones apart."""
    hop = hop_samples(sample_rate_hz)
    frames = np.pad(waveform, (0, -len(waveform) % hop)).reshape(-1, hop)
    names = [descriptor.name for descriptor in DESCRIPTORS]
    found = np.zeros((len(frames), len(names)), np.float32)
    found[:, names.index("voiced")] = 1.0
    found[:, names.index("f0_semitones")] = (np.diff(np.sign(frames)) != 0).sum(axis=1)
    found[:, names.index("level_db")] = 10.0 * np.log10(np.mean(frames**2, axis=1) + 1e-10)
    return found


@pytest.fixture(scope="module")
def taught_by(corpus) -> Iterator[Callable[[str], Taught]]:
    """Recipe -> its run, up to the student; made once."""

    @functools.cache
    def teach(recipe: str) -> Taught:
        run = Run.create(tiny(load_config(recipe), corpus), corpus.parent / "runs" / recipe)
        run_data = run.data()
        targets = all_teacher_targets(run, run_data)
        return run, run_data, targets, students.distilled_student(run, run_data, targets)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(prosody.FEATURES, "descriptors", (DESCRIPTORS, zero_crossings))
        yield teach


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_student_learns_from_both_at_both_levels(taught_by, recipe):
    run, run_data, targets, student = taught_by(recipe)
    distill = run.config.distill
    assert set(targets) == set(run.config.teachers)
    rows = [json.loads(row) for row in (run.directory / "history.jsonl").read_text().splitlines()]
    assert len(rows) == run.config.fit.epochs
    for row in rows:
        logits = distill.label_weight * row["label_loss"]
        logits += distill.logit_weight * distill.temperature**2 * row["logit_loss"]
        embeddings = {name: row[f"embedding_loss_{name}"] for name in run.config.teachers}
        assert min(embeddings.values()) > 0
        weighted = sum(distill.embedding_weights[name] * embeddings[name] for name in embeddings)
        assert row["loss"] == pytest.approx(logits + weighted, rel=1e-3)
    # What is saved is the plain student: it knows nothing of its teachers' embeddings.
    assert student.output_shape == (None, len(run_data.labels))
    assert not any("projection" in layer.name for layer in student.layers)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_fold_has_an_embedding_space_of_its_own(taught_by, recipe):
    _, run_data, targets, _ = taught_by(recipe)
    ids = run_data.ids("training")
    for name, found in targets.items():
        taught = EmbeddingTargets.of(found, found.rows_of(ids, name), name)
        folds, values = taught.space, taught.values
        assert set(folds.tolist()) == set(range(FOLDS))
        for fold in range(FOLDS):
            np.testing.assert_allclose(values[folds == fold].mean(axis=0), 0.0, atol=1e-4)


@pytest.mark.slow
def test_the_exported_file_needs_nothing_but_speech(taught_by, tmp_path):
    run, run_data, _, _ = taught_by("demo_two_teachers")
    export_run(run, run_data)
    alone = shutil.copy(run.export_dir / "student_waveform.tflite", tmp_path)
    predictor = Predictor.load(Path(alone))
    assert predictor.labels == run_data.labels
    for hz in HZ_OF.values():
        tone = 0.2 * np.sin(2 * np.pi * hz * np.arange(16_000) / 16_000)
        probs = predictor.predict_waveform(tone.astype(np.float32))
        assert probs.shape == (3,)
        assert probs.sum() == pytest.approx(1.0, abs=0.02)
