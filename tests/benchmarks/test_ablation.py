"""The ablation: who is scored, what is trained and found again, what the report claims."""

import dataclasses
import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from corpus_maker import settings, snapshot, write_corpus, write_recipe
from sklearn.metrics import balanced_accuracy_score, log_loss

from benchmarks.ablation import __main__ as command
from benchmarks.ablation import report, speed, train
from benchmarks.ablation.compare import paired_difference
from benchmarks.ablation.protocol import development_splits
from benchmarks.ablation.rows import Clips, Results, Row, scores, stored_logits
from benchmarks.ablation.table import read_table, settings_of
from ser_kd.config import CorpusConfig, FileTeacherConfig
from ser_kd.corpora.clip import Clip, Corpus
from ser_kd.corpora.splits import split_corpus
from ser_kd.errors import UserError

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ROOT = Path(__file__).parents[2]
VARIANTS = """
development_speakers = ["s4"]
timed_lever = "width"

[[variant]]
name = "wide"
lever = "width"
settings = ["student.width=0.5"]

[[variant]]
name = "taught"
lever = "teachers"
settings = ["teachers.own.kind=logmel_ensemble", "teachers.own.folds=2", "teachers.own.members=1",
    "teachers.own.student.kind=cnn", "teachers.own.student.width=0.25", "teachers.own.fit.epochs=1",
    "teachers.own.fit.warmup_epochs=0.5", "teachers.own.fit.batch_size=6"]

[[variant]]
name = "taught_2"
lever = "teachers"
starts_from = "taught"
settings = ["distill.temperature=4.0"]
"""


# Who is scored -----------------------------------------------------------------------------------


def test_54_actors_are_trained_on_and_18_are_scored():
    actors = [str(1001 + number) for number in range(91)]
    clips = tuple(Clip(f"{a}_X", Path(f"{a}.wav"), a, "ANG") for a in actors)
    corpus = Corpus("crema_d", clips, ("ANG",), {})
    official = split_corpus(corpus, CorpusConfig(name="crema_d"))
    table = read_table()
    splits = development_splits(official, table.development_speakers)
    parts = [{clip.speaker for clip in part} for part in (splits.train, splits.validation)]
    assert [len(part) for part in parts] == [54, 18]
    assert not parts[0] & parts[1]
    assert splits.test == ()
    assert not (parts[0] | parts[1]) & {clip.speaker for clip in official.test}
    # The nine that earlier screens were scored on (benchmarks/README.md), and validation's.
    drawn = {"1002", "1003", "1005", "1014", "1019", "1025", "1041", "1051", "1063"}
    assert parts[1] == drawn | {clip.speaker for clip in official.validation}
    assert [clip.id for clip in splits.validation] == sorted(c.id for c in splits.validation)
    with pytest.raises(UserError, match=r"'1099', who is no train speaker"):
        development_splits(official, ["1002", "1099"])
    with pytest.raises(UserError, match="leave some to train on"):
        development_splits(official, [clip.speaker for clip in official.train])


# The table ---------------------------------------------------------------------------------------


def write_table(folder: Path, text: str, **sections) -> Path:
    """A table of variants beside a base recipe of seconds, without teachers."""
    table = settings(folder / "corpus", teachers={}, **sections)
    table["fit"] = {**table["fit"], "averaged_epochs": 1} | sections.get("fit", {})
    write_recipe(folder / "base.toml", table)
    (folder / "variants.toml").write_text(text, encoding="utf-8")
    return folder / "variants.toml"


def variant(name="one", lever="width", **keys) -> str:
    lines = {"name": name, "lever": lever, "settings": ["student.width=0.5"], **keys}
    return "[[variant]]\n" + "\n".join(f"{k} = {json.dumps(v)}" for k, v in lines.items()) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (variant(settings=["student.widht=1.0"]), r"'one': unknown key .*did you mean 'width'"),
        (variant(settings=["student.width=-1.0"]), r"'one': student.width = -1.0 is out of range"),
        (variant() + variant(settings=["fit.epochs=3"]), r"two variants are called 'one'"),
        (variant() + variant("two"), r"'one' and 'two' have the same settings"),
        (variant(settings=[]), r"'base' and 'one' have the same settings"),
        (variant(starts_from="tow") + variant("two"), r"starts from 'tow'.*none of those above"),
        (variant(settings=["distill.temperature=2.0"]), r"\[distill\] have no effect"),
        (variant(settings=["fit.averaged_epochs=0"]), r"the best epoch of the speakers"),
        (variant(levr="x"), r"unknown key 'levr' \(did you mean 'lever'\?\)"),
        (variant(name="a b"), r"a name of letters, digits and _"),
        (variant(settings="student.width=1"), r"settings needs a list"),
        ('timed_lever = "with"\n' + variant(), r"'with' is no variant's \(did you mean 'width'"),
        ("development_speakers = 3", r"development_speakers needs a list, got 3"),
        (
            variant(deleted_after="abc") + variant("two", starts_from="one"),
            r"'two' starts from 'one', whose settings are deleted",
        ),
        ("[[variant", r"not valid TOML"),
    ],
)
def test_a_malformed_table_is_named(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_table(write_table(tmp_path, text))


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no table of variants"):
        read_table(tmp_path / "nothing.toml")


def test_the_shipped_table_changes_one_lever_at_a_time():
    table = read_table()
    stored = [
        teacher.path
        for item in table.variants.values()
        for teacher in item.config.teachers.values()
        if isinstance(teacher, FileTeacherConfig)
    ]
    assert stored
    assert all((ROOT / path).is_file() for path in stored)
    assert not table.variants["base"].has_teachers
    # How teachers are learnt from is no setting of labels alone, but of all others.
    of_base, of_taught = (settings_of(table.variants[n].config) for n in ("base", "two_teachers"))
    assert "distill.label_weight" in of_taught
    assert not [key for key in of_base if key.startswith("distill.")]
    alone = [item for item in table.variants.values() if not item.has_teachers]
    assert len(alone) >= len(table.variants) / 2  # the baseline gets as many tries
    assert len(table.timed()) >= 4
    for item in table.variants.values():
        start = table.variants[item.starts_from or "base"]
        before, now = settings_of(start.config), settings_of(item.config)
        sections = {key.split(".")[0] for key in [*before, *now] if before.get(key) != now.get(key)}
        # Teachers come with how they are learnt from.
        with_distill = {"teachers", "distill"}
        assert len(sections) <= 1 or sections <= with_distill, item.name
    config = table.config(table.variants["temperature_2"], 5, "here", "there")
    assert (config.seed, config.corpus.data_dir, config.distill.temperature) == (5, "here", 2.0)
    with pytest.raises(UserError, match=r"no variant 'hop_10' \(did you mean 'hop_10ms'"):
        table.choose(["hop_10"])


# Differences -------------------------------------------------------------------------------------


def made_up_clips(rng: np.random.Generator, speakers: int = 12, of_each: int = 30) -> Clips:
    count = speakers * of_each
    names = tuple(f"p{number:02d}" for number in range(speakers) for _ in range(of_each))
    ids = tuple(f"c{number:04d}" for number in range(count))
    official = np.array([name < "p06" for name in names])
    return Clips(ids, rng.integers(4, size=count), names, official, ("a", "b", "c", "d"))


def predictor(clips: Clips, rng: np.random.Generator, right: float) -> np.ndarray:
    """Class indices, right of about that share; some speakers are easier than others."""
    ease = {name: rng.normal(0, 0.1) for name in dict.fromkeys(clips.speakers)}
    hit = rng.uniform(size=len(clips.ids)) < right + np.array([ease[s] for s in clips.speakers])
    return np.where(hit, clips.truth, rng.integers(4, size=len(clips.ids)))


def test_paired_difference_is_a_bootstrap_over_speakers(rng):
    clips = made_up_clips(rng)
    ours = {seed: predictor(clips, rng, 0.62) for seed in range(3)}
    theirs = {seed: predictor(clips, rng, 0.55) for seed in (0, 2, 7)}
    found = paired_difference(clips, ours, theirs)
    assert set(found.per_seed) == {0, 2}

    speakers = np.array(clips.speakers)
    rows_of = [np.flatnonzero(speakers == name) for name in dict.fromkeys(clips.speakers)]

    def ua(predicted, rows) -> float:
        return np.mean([np.mean(predicted[rows][clips.truth[rows] == c] == c) for c in range(4)])

    def difference(drawn) -> float:
        rows = np.concatenate([rows_of[int(index)] for index in drawn])
        return np.mean([ua(ours[seed], rows) - ua(theirs[seed], rows) for seed in (0, 2)])

    everyone = np.arange(len(rows_of))
    reference = scipy.stats.bootstrap(
        (everyone,), difference, n_resamples=600, vectorized=False, method="percentile", rng=rng
    ).confidence_interval
    of_seed = [
        balanced_accuracy_score(clips.truth, ours[seed])
        - balanced_accuracy_score(clips.truth, theirs[seed])
        for seed in (0, 2)
    ]
    assert list(found.per_seed.values()) == pytest.approx(of_seed)
    assert found.value == pytest.approx(np.mean(of_seed))
    assert (found.low, found.high) == pytest.approx(tuple(reference), abs=0.012)
    assert found.low < found.value < found.high


def test_what_both_share_does_not_widen_the_interval(rng):
    clips = made_up_clips(rng)
    theirs = predictor(clips, rng, 0.6)
    ours = theirs.copy()
    wrong = np.flatnonzero(ours != clips.truth)[::12]  # of all speakers alike
    ours[wrong] = clips.truth[wrong]
    found = paired_difference(clips, {0: ours}, {0: theirs})
    apart = paired_difference(clips, {0: ours}, {0: predictor(clips, rng, 0.6)})
    assert found.high - found.low < (apart.high - apart.low) / 2
    assert paired_difference(clips, {0: ours}, {1: theirs}) is None
    same = paired_difference(clips, {0: ours}, {0: ours})
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def test_a_verdict_needs_three_seeds_that_agree_and_an_interval_without_zero(rng):
    clips = made_up_clips(rng)
    weak = {seed: predictor(clips, rng, 0.4) for seed in range(3)}
    strong = {seed: predictor(clips, rng, 0.8) for seed in range(3)}
    assert paired_difference(clips, strong, weak).verdict == "better"
    assert paired_difference(clips, weak, strong).verdict == "worse"
    assert paired_difference(clips, strong, {0: weak[0], 1: weak[1]}).verdict == "screen"
    assert paired_difference(clips, weak, weak).verdict == "not shown"
    disagrees = {**strong, 2: np.zeros(len(clips.ids), int)}
    against = {**weak, 2: predictor(clips, rng, 0.4)}
    found = paired_difference(clips, disagrees, against)
    assert found.low > 0
    assert found.verdict == "not shown"


# The report --------------------------------------------------------------------------------------

HAND_WRITTEN = "# Distillation\n\nBy hand.\n\n"


def write_results(place: Path, rng, seeds: dict[str, int], strength: dict[str, float]) -> tuple:
    """Rows of made-up students: variant -> how many seeds, variant -> share of right clips."""
    table, results = read_table(write_table(place, VARIANTS)), Results(place / "results")
    clips = made_up_clips(rng)
    results.check_clips(clips)
    for name, count in seeds.items():
        for seed in range(count):
            chosen = predictor(clips, rng, strength[name])
            logits = stored_logits(np.where(np.eye(4)[chosen] > 0, 0.7, 0.1))
            results.add(made_up_row(table.variants[name], seed, clips, logits), logits)
    document = place / "distillation.md"
    document.write_text(f"{HAND_WRITTEN}{report.BEGIN}\nThat was before.\n{report.END}\n\nAfter.\n")
    return table, results, document


def made_up_row(item, seed: int, clips: Clips, logits: np.ndarray) -> Row:
    return Row(
        variant=item.name,
        lever=item.lever,
        seed=seed,
        settings=settings_of(item.config),
        epochs=2,
        **scores(clips, logits),
        training_accuracy=0.9,
        training_seconds=60.0,
        teacher_seconds=90.0 if item.has_teachers else 0.0,
        parameters=1_000,
        machine="some machine",
    )


def cells(text: str, name: str) -> list[str]:
    """Of the last line of a table that begins with a variant's name, where it is compared."""
    lines = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
    compared = [line for line in lines if line.count("|") == 13]
    return [cell.strip() for cell in compared[-1].split("|")[1:-1]]


def test_the_report_marks_screens_and_keeps_what_is_written_by_hand(tmp_path, rng):
    table, results, document = write_results(
        tmp_path,
        rng,
        {"base": 3, "wide": 3, "taught": 2, "taught_2": 1},
        {"base": 0.5, "wide": 0.8, "taught": 0.8, "taught_2": 0.8},
    )
    written = report.write_report(table, results, document)
    text = document.read_text()
    assert text.startswith(HAND_WRITTEN)
    assert text.endswith(f"{report.END}\n\nAfter.\n")
    assert "That was before." not in text
    wide, taught, again = (cells(text, name) for name in ("wide", "taught", "taught_2"))
    assert wide[-1] == "**better**"
    assert taught[-1] == "*screen*"
    assert again[-4] == "`taught`<br>`base`"
    assert again[-1] == "*screen*<br>*screen*"
    rows = results.rows(table)
    ua = np.array([100 * rows["wide", seed].ua for seed in range(3)])
    assert wide[2] == f"{ua.mean():.1f} ± {ua.std(ddof=1):.1f}"
    gain = ua.mean() - np.mean([100 * rows["base", seed].ua for seed in range(3)])
    assert float(wide[-3].split(" (")[0]) == pytest.approx(gain, abs=0.051)
    assert wide[-2] == ""  # its teachers, of which it has none, can have heard nobody
    assert "Tries so far: 2 from labels alone, 2 with teachers. Comparisons" in text
    assert "Comparisons that are no screen: 1." in text
    assert "| `taught` | 1.5 |" in text
    assert written == [document, tmp_path / "distillation_levers.svg"]
    root = ElementTree.fromstring(written[1].read_text())
    svg = "{http://www.w3.org/2000/svg}"
    circles = [c.get("class") for c in root.iter(svg + "circle")]
    assert circles == ["dot", "screen", "screen"]
    assert "prefers-color-scheme: dark" in written[1].read_text()
    assert "Teachers (against taught)" in "".join(root.itertext())
    content = document.read_bytes()
    report.write_report(table, results, document)
    assert document.read_bytes() == content


FROM_A_FILE = """
[[variant]]
name = "told"
lever = "stored"
settings = ["teachers.stored.kind=file", "teachers.stored.path=targets.npz"]
"""


def test_what_teachers_from_files_may_have_heard_does_not_count(tmp_path, rng):
    """A student that is better than the base with the speakers of train alone is not better."""
    table, results = read_table(write_table(tmp_path, FROM_A_FILE)), Results(tmp_path / "results")
    clips = made_up_clips(rng)
    results.check_clips(clips)
    for seed in range(3):
        base = predictor(clips, rng, 0.5)
        told = np.where(clips.validation, base, clips.truth)
        for name, chosen in (("base", base), ("told", told)):
            logits = stored_logits(np.where(np.eye(4)[chosen] > 0, 0.7, 0.1))
            results.add(made_up_row(table.variants[name], seed, clips, logits), logits)
    document = tmp_path / "distillation.md"
    document.write_text(f"{report.BEGIN}\n{report.END}\n")
    report.write_report(table, results, document)
    _, everybody, validation, reading = cells(document.read_text(), "told")[-4:]
    assert float(everybody.split(" (")[0]) > 5.0
    assert validation == "+0.0 (+0.0 to +0.0)"
    assert reading == "not shown"
    root = ElementTree.parse(tmp_path / "distillation_levers.svg").getroot()
    assert "Stored (validation speakers)" in "".join(root.itertext())


def test_the_report_warns_where_labels_alone_had_fewer_tries(tmp_path, rng):
    strength = {"base": 0.5, "taught": 0.5, "taught_2": 0.5}
    table, results, document = write_results(
        tmp_path, rng, {"base": 1, "taught": 1, "taught_2": 1}, strength
    )
    report.write_report(table, results, document)
    assert "Labels alone has had fewer" in document.read_text()


def test_speeds_become_a_table_and_two_plots(tmp_path, rng):
    table, results, document = write_results(
        tmp_path, rng, {"base": 1, "wide": 1}, {"base": 0.5, "wide": 0.7}
    )
    one = {"bytes": 50_000, "latency_ms": 0.1, "runtime": "LiteRT"}
    figures = {"parameters": 9_000, "float32": one, "int8": {**one, "ua": {"0": 0.5}}}
    larger = {**one, "bytes": 90_000, "latency_ms": 0.25, "ua": {"0": 0.75}}
    both = {"base": figures, "wide": {**figures, "int8": larger}}
    (results.folder / "speed.json").write_text(json.dumps({"machine": "m", "variants": both}))
    written = report.write_report(table, results, document)
    assert "| `wide` | 9 k | 50 kB | 0.100 ms | 90 kB | 0.250 ms | 75.0 |" in document.read_text()
    assert [path.name for path in written[2:]] == [
        "distillation_latency.svg",
        "distillation_size.svg",
    ]
    root = ElementTree.fromstring(written[2].read_text())
    dot = next(iter(root.iter("{http://www.w3.org/2000/svg}circle")))
    assert "wide" in "".join(dot.itertext())
    # Without its figures the plots go, too.
    (results.folder / "speed.json").unlink()
    report.write_report(table, results, document)
    assert not written[2].exists()


def test_the_report_needs_no_tensorflow(tmp_path, rng):
    place = write_results(tmp_path, rng, {"base": 1, "wide": 1}, {"base": 0.5, "wide": 0.5})
    arguments = ["--report", "--table", str(tmp_path / "variants.toml"), "--results"]
    arguments += [str(place[1].folder), "--document", str(place[2])]
    program = (
        "import sys; from benchmarks.ablation.__main__ import main; "
        f"assert main({arguments!r}) == 0; assert 'tensorflow' not in sys.modules; "
        "assert 'keras' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True)


def test_rows_of_what_was_deleted_stay_and_no_more_are_made(tmp_path, rng, capsys):
    table, results, document = write_results(
        tmp_path, rng, {"base": 3, "wide": 3}, {"base": 0.8, "wide": 0.5}
    )
    logits = stored_logits(np.full((len(results.clips().ids), 4), 0.25))
    row = made_up_row(table.variants["base"], 0, results.clips(), logits)
    settings_then = {**row.settings, "augment.gone_db": 0.5}  # no setting of the library
    results.add(
        dataclasses.replace(row, variant="gone", lever="noise", settings=settings_then), logits
    )
    gone = variant("gone", "noise", settings=["augment.gone_db=0.5"], deleted_after="abc123")
    path = write_table(tmp_path, VARIANTS + gone)
    report.write_report(read_table(path), results, document)
    found = cells(document.read_text(), "gone")
    assert found[1] == "`augment.gone_db=0.5` (since deleted)"
    assert found[2] == "25.0"
    assert found[-1] == "*screen*"
    arguments = ["--table", str(path), "--results", str(results.folder)]
    assert command.main([*arguments, "--run-dir", str(tmp_path), "--variant", "gone"]) == 2
    assert "commit abc123 is the last that has them" in capsys.readouterr().err
    assert command.main([*arguments, "--list"]) == 0
    assert "seeds 0 (settings deleted)" in capsys.readouterr().out
    other = gone.replace("0.5", "0.7")
    with pytest.raises(UserError, match=r"other settings \(augment.gone_db = 0.5, now 0.7"):
        results.rows(read_table(write_table(tmp_path, VARIANTS + other)))


def test_results_that_do_not_belong_together(tmp_path, rng):
    table, results, document = write_results(
        tmp_path, rng, {"base": 1, "wide": 1}, {"base": 0.5, "wide": 0.5}
    )
    path = results.folder / "rows.jsonl"
    lines = path.read_text().splitlines()
    (tmp_path / "other.md").write_text("nothing")
    with pytest.raises(UserError, match="needs one line"):
        report.write_report(table, results, tmp_path / "other.md")
    for text, message in (
        ([*lines, lines[0]], r"line 3: 'base', seed 0, is there twice"),
        ([lines[0], lines[1].replace('"seed": 0', '"seed": 9')], r"has no .*wide_9.npz"),
        ([lines[0].replace('"base"', '"bse"')], r"'bse', seed 0, has no|no such variant"),
        ([lines[0][:-9]], r"line 1 is no row"),
        (
            [lines[1].replace('width": 0.5', 'width": 0.75')],
            r"other settings \(student.width = 0.75, now 0.5",
        ),
    ):
        path.write_text("\n".join(text) + "\n")
        with pytest.raises(UserError, match=message):
            report.write_report(table, results, document)
    row = json.loads(lines[1])
    path.write_text(json.dumps({**row, "ua": row["ua"] + 0.01}) + "\n")
    with pytest.raises(UserError, match="do not belong together"):
        report.write_report(table, results, document)
    other = dataclasses.replace(results.clips(), ids=("x", *results.clips().ids[1:]))
    with pytest.raises(UserError, match="give another --results"):
        results.check_clips(other)


def test_nothing_is_trained_yet(tmp_path, rng):
    table, results, document = write_results(tmp_path, rng, {}, {})
    report.write_report(table, results, document)
    assert "No row has been trained yet." in document.read_text()


# Training ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Three rows, the second of which was interrupted when its student was trained."""
    place = tmp_path_factory.mktemp("ablation")
    write_corpus(place / "corpus")
    write_table(place, VARIANTS, fit={"epochs": 1})
    return place


def run(place: Path, *arguments: str) -> int:
    where = ["--table", str(place / "variants.toml"), "--results", str(place / "results")]
    seeds = [] if "--time" in arguments else ["--seeds", "0"]
    return command.main([*where, "--run-dir", str(place / "runs"), *seeds, *arguments])


def test_rows_are_made_once_and_found_again(place, capsys, monkeypatch):
    assert run(place, "--variant", "base") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["rows_made"] == 1
    with monkeypatch.context() as patch:
        patch.setattr(Results, "add", interrupted)
        assert run(place, "--variant", "taught") == 130
    histories = {path: content for path, content in snapshot(place / "runs").items()
                 if path.endswith("history.jsonl")}  # fmt: skip
    assert len(histories) == 1 + 1 + 2  # base, taught, and the networks of its two folds
    capsys.readouterr()
    assert run(place, "--variant", "taught", "base", "wide") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {
        "benchmark": "ablation",
        "rows_made": 2,
        "rows": 3,
        "left_out": [],
    }
    later = snapshot(place / "runs")
    assert all(later[path] == content for path, content in histories.items())
    before = snapshot(place)
    assert run(place, "--variant", "base", "wide", "taught") == 0
    assert snapshot(place) == before
    assert run(place, "--list") == 0
    listed = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert listed["taught"].endswith("teachers  seeds 0")
    assert listed["taught_2"].endswith("-")

    results = Results(place / "results")
    rows, clips = results.rows(read_table(place / "variants.toml")), results.clips()
    validation = {s for s, v in zip(clips.speakers, clips.validation, strict=True) if v}
    assert len(validation) == 2
    assert set(clips.speakers) == {*validation, "s4"}
    assert len(clips.ids) == 3 * 6
    for key, row in rows.items():
        probs = np.exp(results.logits(key).astype(float))
        np.testing.assert_allclose(probs.sum(1), 1.0, atol=5e-3)
        assert row.ua == pytest.approx(balanced_accuracy_score(clips.truth, probs.argmax(1)))
        assert row.nll == pytest.approx(log_loss(clips.truth, probs / probs.sum(1)[:, None]))
    assert rows["base", 0].teacher_seconds == 0.0
    assert rows["taught", 0].teacher_seconds > 0.0
    assert rows["wide", 0].parameters > rows["base", 0].parameters
    heard = json.loads((place / "runs/taught_0/teachers/own/fold_0/fold.json").read_text())
    assert not set(clips.speakers) & set(json.dumps(heard).split('"'))


def interrupted(*arguments):
    raise KeyboardInterrupt


def test_rows_that_were_made_with_other_settings_are_not_mixed_in(place, tmp_path, capsys):
    text = VARIANTS.replace("student.width=0.5", "student.width=0.75")
    (tmp_path / "base.toml").write_text((place / "base.toml").read_text())
    (tmp_path / "variants.toml").write_text(text)
    status = run(place, "--variant", "base", "--table", str(tmp_path / "variants.toml"))
    assert status == 2
    assert "student.width = 0.5, now 0.75" in capsys.readouterr().err


def test_the_timed_lever(place, monkeypatch, capsys):
    timed: list = []

    def measure_all(paths):
        timed.extend(paths)
        return [{"latency_ms": 0.1 * (n + 1), "runtime": "LiteRT"} for n in range(len(paths))]

    monkeypatch.setattr(speed, "measure_all", measure_all)
    assert run(place, "--variant", "base", "wide") == 0  # if no test before has made them
    assert run(place, "--time") == 0
    assert [path.parent.parent.name for path in timed] == ["base_0"] * 2 + ["wide_0"] * 2
    assert not [*place.glob("runs/*/export")]  # which would be taken for one, by evaluate
    figures = json.loads((place / "results/speed.json").read_text())["variants"]
    assert figures["wide"]["int8"]["bytes"] == timed[3].stat().st_size
    assert figures["base"]["float32"]["latency_ms"] == pytest.approx(0.1)
    for entry in figures.values():
        assert 0 <= entry["int8"]["ua"]["0"] <= 1
        assert entry["int8"]["bytes"] < entry["float32"]["bytes"]


def test_what_a_variant_needs_is_looked_for_first(tmp_path, capsys, monkeypatch):
    write_corpus(tmp_path / "corpus")
    write_table(tmp_path, FROM_A_FILE, fit={"epochs": 1})
    assert run(tmp_path, "--variant", "base", "told") == 2
    assert "variant 'told' needs 'targets.npz', which is not here" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    # Of all variants those are made that can be.
    monkeypatch.setattr(train, "train_missing", lambda table, wanted, *_: len(wanted))
    assert run(tmp_path) == 0
    *_, said, last = capsys.readouterr().out.splitlines()
    assert said.startswith("left out: variant 'told' needs 'targets.npz'")
    assert json.loads(last) == {
        "benchmark": "ablation",
        "rows_made": 1,
        "rows": 0,
        "left_out": ["told"],
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--report", "--results", "no_such_folder"], "no results: 'no_such_folder/rows.jsonl'"),
        (["--report", "--results", "benchmarks/results"], "no results: 'benchmarks/results/rows"),
        (["--report", "--variant", "base"], "--variant and --seeds say what is trained"),
        (["--time", "--seeds", "1"], "--variant and --seeds say what is trained"),
    ],
)
def test_arguments_that_would_do_something_else(capsys, tmp_path, arguments, message):
    document = tmp_path / "distillation.md"
    document.write_text(f"{report.BEGIN}\nTables.\n{report.END}\n")
    assert command.main([*arguments, "--document", str(document)]) == 2
    assert message in capsys.readouterr().err
    assert "Tables." in document.read_text()


def test_a_run_folder_is_asked_for(place, capsys):
    assert command.main(["--table", str(place / "variants.toml")]) == 2
    assert "--run-dir is missing" in capsys.readouterr().err
