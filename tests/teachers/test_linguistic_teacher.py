"""The linguistic teacher, and where transcripts come from."""

import importlib.util
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from corpus_maker import settings, write_corpus, write_unlabelled

from ser_kd.config import CorpusConfig, config_from_dict
from ser_kd.corpora import Corpus, load_corpus
from ser_kd.data.targets import ALL_FOLDS
from ser_kd.distillation import fit_loop
from ser_kd.errors import UserError
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.teachers.base import make_teacher
from ser_kd.teachers.crossfit import Teachers
from ser_kd.teachers.linguistic_network import token_encoder

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
needs_keras_hub = pytest.mark.skipif(
    importlib.util.find_spec("keras_hub") is None,
    reason="keras-hub is not installed: pip install -e '.[text]'",
)

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "oh", "no", "yes", "##s", ",", "well"]
TEXT_OF = {"high": "Oh, yes", "low": "No no", "mid": "Well"}
FIT = {"epochs": 5, "batch_size": 6, "warmup_epochs": 0.0, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def presets(tmp_path_factory) -> dict[str, Path]:
    """Two tiny encoders: with a summary beside the states, and with the states alone."""
    keras_hub = pytest.importorskip("keras_hub", reason="needs the extra 'text'")
    models = keras_hub.models
    keras.utils.set_random_seed(4)
    sizes = {
        "vocabulary_size": len(VOCABULARY),
        "num_layers": 1,
        "num_heads": 2,
        "hidden_dim": 8,
        "intermediate_dim": 16,
        "max_sequence_length": 12,
    }
    found = {}
    for name, prefix in (("bert", "Bert"), ("distil_bert", "DistilBert")):
        found[name] = tmp_path_factory.mktemp("presets") / name
        tokenizer = getattr(models, f"{prefix}Tokenizer")(vocabulary=VOCABULARY, lowercase=True)
        getattr(models, f"{prefix}Backbone")(**sizes).save_to_preset(str(found[name]))
        tokenizer.save_to_preset(str(found[name]))
    return found


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """The made corpus, with a table in which the words tell the emotion."""
    folder = write_corpus(tmp_path_factory.mktemp("linguistic") / "corpus")
    write_table(folder / "clips.csv", folder, TEXT_OF)
    return folder


def write_table(table: Path, folder: Path, text_of: dict[str, str]) -> None:
    rows = ["path,speaker,emotion,text"]
    for path in sorted(folder.glob("*/*/*.wav")):
        emotion, speaker, name = path.relative_to(folder).parts
        rows.append(f'{emotion}/{speaker}/{name},{speaker},{emotion},"{text_of[emotion]}"')
    table.write_text("\n".join(rows))


def make_run(corpus: Path, name: str, preset: Path | str, /, **teacher) -> tuple[Run, RunData]:
    views = teacher.pop("views", {})
    table = {
        "kind": "linguistic",
        "folds": 2,
        "preset": str(preset),
        "max_tokens": 8,
        "projection": 4,
        "fit": FIT,
        **teacher,
    }
    config = config_from_dict(settings(corpus, teachers={"words": table}, views=views))
    run = Run.create(config, corpus.parent / "runs" / name)
    return run, run.data()


@pytest.fixture(scope="module")
def fitted(corpus, presets):
    """An uninterrupted cross-fit, one view beside each training clip."""
    run, run_data = make_run(corpus, "straight", presets["distil_bert"], views={"count": 1})
    return run, run_data, Teachers(run, run_data).targets("words")


@needs_keras_hub
def test_it_reads_and_each_target_is_out_of_fold(fitted):
    run, run_data, targets = fitted
    training = set(run_data.ids("training"))
    said: dict[tuple[str, int], np.ndarray] = {}
    for row, clip_id in enumerate(targets.ids):
        fold = int(targets.fold[row])
        assert (fold == ALL_FOLDS) == (clip_id not in training)
        # Nothing but the words matters, and whose network reads them.
        text = TEXT_OF[clip_id.split("/")[0]]
        same = said.setdefault((text, fold), targets.logits[row])
        np.testing.assert_allclose(targets.logits[row], same, atol=1e-5)
    assert len(said) == 9
    assert len(targets.ids) == 36 * 2 + 24
    assert targets.embedding.shape == (96, 4)
    ids = run_data.ids("test") + run_data.ids("training")
    truth = run_data.one_hot(ids).argmax(1)
    assert np.mean(targets.logits_of(ids, "words").argmax(1) == truth) > 0.9
    names = sorted(path.name for path in (run.teacher_dir("words") / "fold_0").iterdir())
    assert names == ["fold.json", "predictions.npz", "text_classifier", "text_classifier.keras"]


@needs_keras_hub
def test_only_real_tokens_count_and_the_file_is_whole(fitted):
    run, run_data, targets = fitted
    (path,) = make_teacher("words", run.config, run_data).network_paths(
        run.teacher_dir("words") / "fold_1"
    )
    model = keras.models.load_model(path)
    teacher = make_teacher("words", run.config, run_data)
    clip_id = next(i for i, fold in zip(targets.ids, targets.fold, strict=True) if fold == 1)
    tokens = teacher.arrays([(clip_id, 0)]).values
    assert tokens.shape == (1, 2, 8)
    words = [VOCABULARY[token] for token in tokens[0, 0, tokens[0, 1] == 1]]
    assert (
        words
        == {
            "high": ["[CLS]", "oh", ",", "yes", "[SEP]"],
            "low": ["[CLS]", "no", "no", "[SEP]"],
            "mid": ["[CLS]", "well", "[SEP]"],
        }[clip_id.split("/")[0]]
    )
    probs = keras.ops.softmax(model(tokens)).numpy()[0]
    expected = np.exp(targets.logits_of([clip_id], "words")[0])
    np.testing.assert_allclose(probs, expected, atol=1e-5)
    other = tokens.copy()
    other[0, 0, tokens[0, 1] == 0] = 7
    np.testing.assert_allclose(keras.ops.softmax(model(other)).numpy()[0], probs, atol=1e-5)
    other[0, 0, 1] = 8
    assert np.abs(keras.ops.softmax(model(other)).numpy()[0] - probs).max() > 1e-4
    # What time and memory are measured with.
    example = teacher.example_input(teacher.settings, run.config.audio)
    assert model(example).shape == (1, 3)


@needs_keras_hub
def test_resumed_after_a_kill_it_is_the_same(corpus, presets, fitted, monkeypatch):
    run, run_data = make_run(corpus, "killed", presets["distil_bert"], views={"count": 1})
    saved, save = [], fit_loop.TrainingState.save

    def save_and_die(state):
        save(state)
        saved.append(state.epochs_done)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(fit_loop.TrainingState, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        Teachers(run, run_data).targets("words")
    targets = Teachers(run, run_data).targets("words")
    assert saved == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]
    for name in ("logits", "embedding", "fold", "view"):
        np.testing.assert_array_equal(getattr(targets, name), getattr(fitted[2], name))


def weights_moved(preset: Path, network: Path) -> float:
    """How far the furthest of the encoder's weights is from the preset's."""
    import keras_hub

    before = token_encoder(keras_hub.models.Backbone.from_preset(str(preset))).get_weights()
    after = keras.models.load_model(network).encoder.get_weights()
    return max(np.abs(old - new).max() for old, new in zip(before, after, strict=True))


@needs_keras_hub
def test_the_encoder_learns_unless_it_is_frozen(presets, fitted):
    network = fitted[0].teacher_dir("words") / "fold_0" / "text_classifier.keras"
    assert weights_moved(presets["distil_bert"], network) > 1e-3


@needs_keras_hub
def test_a_frozen_encoder_says_what_the_preset_says(corpus, presets, capsys):
    import keras_hub

    run, run_data = make_run(
        corpus, "frozen", presets["bert"], frozen=True, fit={**FIT, "epochs": 1}
    )
    teacher = make_teacher("words", run.config, run_data)
    fold = run.teacher_dir("words") / "fold_0"
    teacher.train(run_data.ids("training"), fold, "words fold 1")
    (path,) = teacher.network_paths(fold)
    assert weights_moved(presets["bert"], path) == 0
    assert "only 3 different texts in 60 clips" in capsys.readouterr().out
    tokens = teacher.arrays([(run_data.ids("test")[0], 0)]).values
    backbone = keras_hub.models.Backbone.from_preset(str(presets["bert"]))
    inputs = {"token_ids": tokens[:, 0], "padding_mask": tokens[:, 1]}
    inputs["segment_ids"] = np.zeros((1, 8), np.int32)
    states = backbone(inputs, training=False)["sequence_output"]
    mean = np.mean(states[0, : tokens[0, 1].sum()], axis=0)
    model = keras.models.load_model(path)
    kernel, bias = model.projection.get_weights()
    # In training, too: its dropout is off.
    _, embedding = model.logits_and_embedding(keras.ops.convert_to_tensor(tokens), training=True)
    np.testing.assert_allclose(embedding[0], np.tanh(mean @ kernel + bias), atol=1e-5)


def error_of(run: Run, run_data: RunData) -> str:
    with pytest.raises(UserError) as caught:
        make_teacher("words", run.config, run_data)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


@needs_keras_hub
def test_what_cannot_be_loaded_is_one_line(corpus, presets, tmp_path, monkeypatch):
    for preset, message in (
        ("./nowhere", "teachers.words.preset: no such folder: './nowhere'"),
        ("bert_tinny", "'bert_tinny' cannot be loaded (Unknown preset identifier."),
        (str(tmp_path), "has no config.json"),
    ):
        assert message in error_of(*make_run(corpus, f"bad_{len(message)}", preset))
    damaged = tmp_path / "damaged"
    shutil.copytree(presets["bert"], damaged)
    (damaged / "config.json").write_text("{")
    assert "cannot be loaded" in error_of(*make_run(corpus, "damaged", damaged))

    import kagglehub

    def offline(*_, **__):
        raise ConnectionError("Failed to resolve 'api.kaggle.com'")

    monkeypatch.setattr(kagglehub, "model_download", offline)
    message = error_of(*make_run(corpus, "offline", "bert_tiny_en_uncased"))
    assert "'bert_tiny_en_uncased' cannot be loaded (Failed to resolve 'api.kaggle" in message
    assert "needs the network the first time" in message


@needs_keras_hub
def test_texts_longer_than_the_encoder_reads(corpus, presets):
    run, run_data = make_run(corpus, "long", presets["bert"], max_tokens=13)
    with pytest.raises(UserError, match=r"words.max_tokens = 13, but .* reads 12 at most"):
        Teachers(run, run_data).targets("words")


def test_without_keras_hub(corpus, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    message = error_of(*make_run(corpus, "absent", "bert_tiny_en_uncased"))
    assert message.startswith(
        "teachers.words needs the package keras-hub: pip install 'ser-kd[text]'"
    )


def test_clips_without_transcript(corpus, tmp_path):
    folder = tmp_path / "some"
    shutil.copytree(corpus, folder)
    write_table(folder / "clips.csv", folder, {**TEXT_OF, "mid": " "})
    message = error_of(*make_run(folder, "some", "any"))
    assert "20 of 60 clips have none, the first is 'mid/s" in message
    (folder / "clips.csv").unlink()
    message = error_of(*make_run(folder, "none", "any"))
    assert "60 of 60 clips have none" in message
    assert "column 'text'" in message


def test_speech_without_labels_has_no_transcripts(corpus, tmp_path):
    table = settings(corpus, teachers={"words": {"kind": "linguistic", "folds": 2}})
    table["corpus"]["unlabelled_dirs"] = [str(write_unlabelled(tmp_path / "more"))]
    run = Run.create(config_from_dict(table), tmp_path / "run")
    assert "corpus.unlabelled_dirs has none" in error_of(run, run.data())


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"preset": ""}, r"teachers.words.preset = '' .* a name that keras-hub knows"),
        ({"max_tokens": 2}, r"teachers.words.max_tokens = 2 .* at least 3"),
        ({"projection": 0}, r"teachers.words.projection = 0 .* at least 1"),
        ({"dropout": -0.1}, r"teachers.words.dropout = -0.1 .* at least 0"),
        ({"folds": 1}, r"teachers.words.folds = 1 .* at least 2"),
        ({"fit": {"batch_size": -1}}, r"teachers.words.fit.batch_size = -1"),
        ({"frozen": "yes"}, r"teachers.words.frozen needs a value of type bool"),
    ],
)
def test_wrong_settings(teacher, message):
    with pytest.raises(UserError, match=message):
        config_from_dict({"teachers": {"words": {"kind": "linguistic", **teacher}}})


def read_folder(folder: Path, table: str) -> Corpus:
    for name in ("a.wav", "b.wav"):
        (folder / name).touch()
    (folder / "clips.csv").write_text(table, encoding="utf-8")
    return load_corpus(CorpusConfig(name="folder", data_dir=str(folder)))


def test_transcripts_of_a_folder_corpus(tmp_path):
    table = 'path,emotion,Text\na.wav,joy,"Well, ""yes"""\nb.wav,rage,"No.\nNo!"\n'
    clips = read_folder(tmp_path, table).clips
    assert [clip.attributes["text"] for clip in clips] == ['Well, "yes"', "No.\nNo!"]


def test_a_comma_too_many_does_not_cut_a_transcript_short(tmp_path):
    with pytest.raises(UserError, match=r"row 2, has more cells .* into double quotes"):
        read_folder(tmp_path, "path,emotion,text\na.wav,joy,Well, yes\nb.wav,rage,No\n")
    clips = read_folder(tmp_path, "path,emotion,text\na.wav,joy,Well,\nb.wav,rage,No\n").clips
    assert [clip.attributes["text"] for clip in clips] == ["Well", "No"]


def test_crema_ds_clips_have_their_sentence(tmp_path):
    names = ["1001_DFA_ANG_XX.wav", "1001_XYZ_HAP_XX.wav"]
    for name in names:
        (tmp_path / name).touch()
    for corpus in ("crema_d", "demo"):
        config = CorpusConfig(name=corpus, data_dir=str(tmp_path))
        texts = [clip.attributes.get("text") for clip in load_corpus(config).clips]
        assert texts == ["Don't forget a jacket", None]
