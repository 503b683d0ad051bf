"""The page: what it says, that it needs nothing but itself, and that data cannot break it."""

import copy
import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import Any

import pytest
from samples import LABELS, part, resources, sample

from ser_kd.evaluation.html_report import figures
from ser_kd.evaluation.html_report.page import report, write_report

VOID = {"meta", "br", "link", "img"}


class Page(HTMLParser):
    """Elements, attributes and text, and whether every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def said(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def headings(self) -> list[str]:
        return re.findall(r"<h2>(.*?)</h2>", self.text)

    def attributes(self, name: str) -> list[str]:
        return [str(found[name]) for _, found in self.elements if name in found]


def page_of(evaluation: dict[str, Any], **measured: Any) -> Page:
    return Page(report(evaluation, measured or resources()))


@pytest.fixture(scope="module")
def page() -> Page:
    return page_of(sample())


def changed(**of_file: Any) -> dict[str, Any]:
    """The sample with another detailed file."""
    evaluation = sample()
    evaluation["parts"]["test"]["file"].update(of_file)
    return evaluation


def test_the_opening_tells_what_was_scored_and_how_well(page):
    lead = page.said[page.said.index("On 738 clips") :][:420]
    for fact in ("19 speakers", "test part of crema_d", "66.3 %", "66.9 %", "63 and 71", "16.7 %"):
        assert fact in lead
    assert "not trained on these speakers" in page.said
    assert "Best recognised: ANG anger (88 %" in page.said
    assert "worst: HAP happiness (52 %)" in page.said


def test_all_sections_are_there(page):
    assert page.headings() == [
        "Scores by emotion", "Teachers and students", "Groups of speakers", "Robustness",
        "Other corpora", "How to read this page", "Notes",
    ]  # fmt: skip
    for folded in ("Training curves", "Worst clips", "Accuracy of the teachers' targets"):
        assert folded in page.said


def test_figures_of_every_section(page):
    for figure in (
        "0.36 ms", "637 kB", "21.57 ms", "78.2 %",  # models, agreement
        "69.5 %", "✗ missed", "17.6 points", "61.3 %",  # slices, limits, conditions
        "41.8 %", "boredom 81", "97.7 %", "62.0 %",  # other corpora, worst clips, targets
        "1076_MTI_SAD_XX", "Most frequent mistake: HAP happiness predicted as ANG anger, 24 of 126",
    ):  # fmt: skip
        assert figure in page.said.replace("\N{NO-BREAK SPACE}", " "), figure


def test_nothing_is_fetched_and_nothing_runs(page):
    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe", "img", "object"}
    assert page.attributes("src") == []
    assert all(link.startswith("#") for link in page.attributes("href"))
    assert not re.search(r"@import|url\((?!#)", page.text)


def test_it_can_be_read_aloud_and_on_a_phone(page):
    """A title for each figure, a table behind it, headers of rows and columns, one language."""
    assert dict(page.elements)["html"] == {"lang": "en"}
    assert 'name="viewport"' in page.text
    figures_found = [found for tag, found in page.elements if tag == "svg"]
    assert len(figures_found) == 3
    assert all(found["role"] == "img" and found["aria-labelledby"] for found in figures_found)
    for figure in re.findall(r"<figure>.*?</figure>", page.text, re.DOTALL)[:2]:
        assert "<table>" in figure
    assert {found.get("scope") for tag, found in page.elements if tag == "th"} == {
        "row", "col", "rowgroup",
    }  # fmt: skip
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))


def test_light_and_dark(page):
    """Every colour of a figure is a variable of the theme."""
    assert "prefers-color-scheme: dark" in page.text
    for svg in re.findall(r"<svg.*?</svg>", page.text, re.DOTALL):
        assert not re.search(r"(fill|stroke): (#|black|white)", svg)
        assert "var(--text)" in svg


def test_the_same_evaluation_gives_the_same_page(page):
    assert report(sample(), resources()) == page.text


def test_what_comes_from_data_is_escaped():
    nasty = 'c<i>&"lip'
    evaluation = sample()
    evaluation["labels"] = [nasty, *LABELS[1:]]
    evaluation["corpus"] = evaluation["model"]["name"] = nasty
    evaluation["notes"] = [nasty]
    tested = evaluation["parts"]["test"]
    scores = tested["models"][tested["file"]["model"]]
    scores["recall"] = {nasty: scores["recall"].pop("ANG"), **scores["recall"]}
    tested["file"]["worst"][0]["id"] = nasty
    tested["file"]["slices"][0]["groups"][0]["name"] = nasty
    tested["unreadable"] = {nasty: nasty}
    page = page_of(evaluation)
    assert "i" not in {tag for tag, _ in page.elements}
    assert page.said.count(nasty) > 6


def test_synthetic_speech_has_a_banner(page):
    assert "SYNTHETIC SPEECH" not in page.said
    assert "SYNTHETIC SPEECH" in page_of({**sample(), "synthetic": True}).said


@pytest.mark.parametrize(
    ("part_name", "clips", "said"),
    [
        ("test", None, "not known"),
        ("test", 100, "trained on the speakers of 100 clips"),
        ("validation", 0, "the epoch that was kept"),
    ],
)
def test_whether_the_speakers_are_known(part_name, clips, said):
    evaluation = {**sample(), "parts": {part_name: part()}}
    evaluation["parts"][part_name]["clips_of_training_speakers"] = clips
    assert said in page_of(evaluation).said


def test_few_speakers_give_no_interval():
    evaluation = {**sample(), "parts": {"test": part(2)}, "cross_corpus": []}
    page = page_of(evaluation)
    assert "2 speakers are too few" in page.said
    shown = re.findall(r"\d\d\N{EN DASH}\d\d", page.said)
    assert shown == ["64\N{EN DASH}74"]  # of a group of five speakers alone


@pytest.mark.parametrize(
    ("without", "heading"),
    [
        ({"slices": []}, "Groups of speakers"),
        ({"robustness": {"conditions": [], "limits": []}}, "Robustness"),
    ],
)
def test_a_section_without_data_is_left_out(without, heading):
    assert heading not in page_of(changed(**without)).headings()


def test_the_least_that_there_can_be():
    """One model, one speaker, nothing measured, one epoch without validation."""
    evaluation = copy.deepcopy(sample())
    least = part(1)
    own = least["models"][least["file"]["model"]]
    least["models"] = {"m.tflite": own}
    for item in own["recall"].values():
        item["interval"] = None
    own["intervals"] = dict.fromkeys(own["intervals"])
    least |= {"agreement": {}, "unreadable": {}, "clips_of_training_speakers": None}
    least["file"] |= {"model": "m.tflite", "slices": [], "worst": []}
    least["file"]["robustness"] = {"conditions": [], "limits": []}
    evaluation |= {"parts": {"all": least}, "teachers_out_of_fold": {}, "cross_corpus": []}
    evaluation |= {
        "notes": [],
        "history": [{"epoch": 1, "loss": 1.0, "accuracy": 0.5, "validation_ua": None}],
    }
    page = page_of(evaluation, **{"m.tflite": {"bytes": 1_000}})
    assert page.headings() == ["Scores by emotion", "How to read this page"]
    assert "1 speaker is too few" in page.said
    assert "all of crema_d" in page.said


def test_an_emotion_without_clips():
    counts = [[0, 0], [3, 4]]
    assert "43" in figures.confusion_matrix(["a", "b"], counts)
    assert figures.training_curves([]) == ""


def test_cells_of_the_confusion_matrix_are_shares_of_the_row():
    svg = figures.confusion_matrix(["a", "b"], [[3, 1], [1, 1]])
    assert re.findall(r">(\d+)</text>", svg) == ["75", "25", "50", "50"]


def test_the_page_is_written(tmp_path):
    write_report(sample(), resources(), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == report(sample(), resources())


def test_no_tensorflow_is_needed():
    program = (
        "import sys, ser_kd.evaluation.html_report.page; "
        "print({'tensorflow', 'keras', 'matplotlib.pyplot'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout.strip() == "set()", result.stderr


def test_a_model_with_one_label_for_everything_is_warned_of_at_the_top():
    evaluation = sample()
    part_of = evaluation["parts"]["test"]
    model, classes = part_of["file"]["model"], len(LABELS)
    assert "has not learned" not in page_of(evaluation).said
    confusion = [[100] + [0] * (classes - 1) for _ in range(classes)]
    part_of["models"][model]["confusion"] = confusion
    said = page_of(evaluation).said
    assert f"predicts {LABELS[0]} for 100 %" in said
    assert said.index("has not learned") < said.index("Guessing gives")
