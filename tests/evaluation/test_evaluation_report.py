"""The evaluation's page: its numbers, the geometry of its plots, what it says where data lack."""

import copy
import itertools
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from typing import Any

import pytest

from ser_kd.evaluation.report import report, write_report
from ser_kd.evaluation.report.charts import HEAT_FULL
from ser_kd.evaluation.report.style import DARK, LIGHT
from ser_kd.evaluation.report.svg import Scale, spread

LABELS = ["ANG", "DIS", "FEA", "HAP", "NEU", "SAD"]
CONFUSION = [
    [111, 12, 3, 0, 0, 0],
    [23, 77, 14, 2, 3, 7],
    [6, 8, 71, 10, 12, 19],
    [24, 8, 21, 65, 7, 1],
    [4, 1, 3, 6, 90, 4],
    [0, 9, 17, 4, 21, 75],
]
NASTY = 'c<i>&"lip'


def around(value: float, half: float) -> list[float]:
    return [max(value - half, 0.0), min(value + half, 1.0)]


def recall(confusion: list[list[int]] = CONFUSION, half: float = 0.08) -> dict[str, Any]:
    rows = zip(LABELS, confusion, range(len(LABELS)), strict=True)
    return {
        label: {
            "value": row[index] / sum(row),
            "interval": around(row[index] / sum(row), half),
            "clips": sum(row),
        }
        for label, row, index in rows
        if sum(row)
    }


def scores(ua: float, confusion: list[list[int]] = CONFUSION, half: float = 0.04) -> dict[str, Any]:
    values = {"wa": ua - 0.006, "ua": ua, "macro_f1": ua - 0.012}
    return {
        **values,
        "intervals": {key: around(value, half) for key, value in values.items()},
        "recall": recall(confusion),
        "confusion": confusion,
        "nll": 0.888,
    }


def reliability_bins() -> list[dict[str, Any]]:
    clips = [0, 0, 0, 2, 18, 55, 70, 64, 61, 58, 66, 74, 90, 99, 79]
    return [
        {
            "low": number / 15,
            "high": (number + 1) / 15,
            "clips": count,
            "confidence": (number + 0.5) / 15 if count else 0.0,
            "accuracy": min(1.0, 0.08 + 0.85 * (number + 0.5) / 15) if count else 0.0,
        }
        for number, count in enumerate(clips)
    ]


def group(name: str, speakers: int, clips: int, ua: float) -> dict[str, Any]:
    return {
        "name": name,
        "clips": clips,
        "speakers": speakers,
        "ua": ua,
        "interval": around(ua, 0.05),
        "recall": recall(half=0.11),
    }


def condition(name: str, kind: str, drop: float, unchanged: float) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "ua": 0.669 - drop,
        "ua_drop": drop,
        "unchanged": unchanged,
        "gate": held_against(name, kind),
    }


def held_against(name: str, kind: str) -> str:
    if kind == "noise":
        return f"noise at {name.split(', ')[-1]}"
    return {"phone": "telephone", "small": "small changes"}.get(kind, "")


def conditions() -> list[dict[str, Any]]:
    noises = [
        condition(f"{name} noise, {decibels} dB", "noise", drop, 1 - 2.2 * drop)
        for name, worse in (("white", 1.6), ("pink", 1.0), ("babble", 1.3))
        for decibels, drop in ((20, 0.01 * worse), (10, 0.05 * worse), (5, 0.11 * worse))
    ]
    small = [("gain -2 dB", -0.001), ("0.3 % of the samples clipped", 0.006)]
    return [
        *(condition(name, "small", drop, 0.985) for name, drop in small),
        condition("gain +20 dB, clipped", "level", 0.031, 0.87),
        condition("first 5 % cut off", "crop", 0.012, 0.93),
        *noises,
        condition("telephone: 300-3400 Hz, mu-law", "phone", 0.043, 0.83),
        condition("Opus, 6 kbit/s", "codec", 0.081, 0.74),
    ]


def gate(
    name: str, limit: float, worst: float, where: str, published: bool = True
) -> dict[str, Any]:
    at_most = "stay" not in name
    return {
        "name": name,
        "limit": limit,
        "bound": "at most" if at_most else "at least",
        "worst": worst,
        "condition": where,
        "met": worst <= limit if at_most else worst >= limit,
        "published": published,
    }


def gates() -> list[dict[str, Any]]:
    telephone = "telephone: 300-3400 Hz, mu-law"
    return [
        gate("noise at 20 dB: drop of UA", 0.05, 0.016, "white noise, 20 dB"),
        gate("noise at 20 dB: labels that stay", 0.90, 0.9648, "white noise, 20 dB"),
        gate("noise at 5 dB: drop of UA", 0.05, 0.176, "white noise, 5 dB", False),
        gate("noise at 5 dB: labels that stay", 0.90, 0.6128, "white noise, 5 dB", False),
        gate("telephone: drop of UA", 0.05, 0.043, telephone),
        gate("telephone: labels that stay", 0.50, 0.83, telephone),
        gate("small changes: labels that stay", 0.99, 0.985, "gain -2 dB"),
        gate("sexes: UA away from that of all", 0.075, 0.036, "male"),
        gate("sexes: UA away from each other", 0.075, 0.062, "male below female", False),
    ]


def history() -> list[dict[str, Any]]:
    return [
        {
            "epoch": epoch,
            "loss": 0.55 + 1.2 / epoch**0.6,
            "accuracy": 0.72 - 0.45 / epoch**0.5,
            "validation_ua": 0.674 - 0.35 / epoch**0.55 - 0.004 * (epoch % 3) - 0.0001 * epoch,
        }
        for epoch in range(1, 51)
    ]


def answers_like(same: tuple[float, float, float]) -> dict[str, Any]:
    names = ("student, labels alone", "student, distilled", "student, distilled, int8")
    return {
        name: {"same_label": value, "interval": around(value, 0.05), "kl": round(1 - value, 3)}
        for name, value in zip(names, same, strict=True)
    }


def counts_of(name: str, won: int, lost: int, nearer: tuple[int, int]) -> dict[str, Any]:
    return {
        "with": name,
        "differs": 200,
        "moved": 60,
        "moved_right": won,
        "won": won,
        "lost": lost,
        "net": won - lost,
        "net_interval": [won - lost - 9.6, won - lost + 10.4],
        "nearer": {
            "right": nearer[0],
            "right_interval": [nearer[0] - 8, nearer[0] + 8],
            "wrong": nearer[1],
            "wrong_interval": [nearer[1] - 4, nearer[1] + 4],
        },
    }


def teaching() -> dict[str, Any]:
    return {
        "shares": {"teacher ensemble": 0.25, "teacher wave": 0.75, "teacher prosody": 0.0},
        "embedding_weights": {},
        "clips": 738,
        "speakers": 9,
        "agreement": [
            {"with": "teacher ensemble", "students": answers_like((0.7, 0.75, 0.74))},
            {"with": "teacher wave", "students": answers_like((0.5, 0.65, 0.64))},
            {"with": "teacher prosody", "students": answers_like((0.3, 0.31, 0.3))},
            {"with": "teachers, mixed", "students": answers_like((0.6, 0.8, 0.79))},
        ],
        "between": [
            {
                "teachers": ["teacher ensemble", "teacher wave"],
                "same_label": 0.512,
                "both_right": 300,
                "first_right": 190,
                "second_right": 1_100,
                "neither": 60,
            }
        ],
        "help": {
            "won": 48,
            "lost": 29,
            "teachers": [
                counts_of("teacher ensemble", 40, 13, (21, -2)),
                counts_of("teacher wave", 45, 20, (30, 11)),
                counts_of("teacher prosody", 10, 25, (0, 1)),
                counts_of("teachers, mixed", 42, 12, (24, 5)),
            ],
        },
    }


SAMPLE: dict[str, Any] = {
    "format": 1,
    "model": {
        "name": "student_waveform.tflite",
        "hears": "waveform",
        "runtime": "LiteRT",
        "window_seconds": 3.0,
        "bytes": 637_000,
        "sha256": "7dc9396b1ef8bb50a247df04949b91e0cb68a0ecc6fa9ea74e4353d039da04bc",
    },
    "labels": LABELS,
    "corpus": {
        "name": "crema_d",
        "split": "validation",
        "clips": 738,
        "speakers": 9,
        "synthetic": False,
        "heard_in_training": 0,
        "unreadable": {"1076_MTI_SAD_XX": "no samples"},
    },
    "scores": scores(0.669),
    "calibration": {"ece": 0.0424, "ece_by_chance": [0.031, 0.052], "bins": reliability_bins()},
    "agreement": [
        {"with": "teacher ensemble", "same_label": 0.782, "ua": 0.6667, "clips": 738},
        {"with": "student.keras", "same_label": 0.9797, "ua": 0.672, "clips": 738},
    ],
    "slices": [
        {"by": "sex", "groups": [group("female", 5, 410, 0.695), group("male", 4, 328, 0.633)]},
        {
            "by": "age",
            "groups": [
                group("20-29", 4, 328, 0.68),
                group("30-49", 4, 328, 0.665),
                group("50-74", 1, 82, 0.61),
            ],
        },
        {
            "by": "race",
            "groups": [
                group("African American", 2, 164, 0.64),
                group("Asian", 2, 164, 0.66),
                group("Caucasian", 5, 410, 0.68),
            ],
        },
    ],
    "robustness": {"conditions": conditions(), "gates": gates()},
    "cross_corpus": [
        {
            "corpus": "emodb",
            "clips": 454,
            "speakers": 10,
            "labels": LABELS,
            "dropped": {"boredom": 81},
            "scores": scores(
                0.418,
                [
                    [101, 5, 3, 16, 2, 0],
                    [12, 16, 8, 4, 5, 1],
                    [20, 6, 22, 9, 8, 4],
                    [38, 4, 10, 15, 4, 0],
                    [3, 7, 8, 2, 48, 11],
                    [0, 2, 8, 0, 30, 22],
                ],
                0.05,
            ),
        }
    ],
    "resources": {
        "latency_ms": 0.3649,
        "latency_p95_ms": 0.72,
        "peak_memory_mb": 51.18,
        "runtime": "LiteRT",
        "bytes": 637_000,
    },
    "compared": [
        {
            "name": "teacher ensemble (10 networks)",
            "role": "teacher",
            "wa": 0.6626,
            "ua": 0.6667,
            "macro_f1": 0.6591,
            "latency_ms": 16.2257,
            "bytes": 11_941_788,
            "peak_memory_mb": 787.2,
        },
        {
            "name": "student.keras",
            "role": "student",
            "wa": 0.668,
            "ua": 0.672,
            "macro_f1": 0.66,
            "latency_ms": 1.7289,
            "bytes": 1_990_485,
            "peak_memory_mb": None,
        },
        {
            "name": "student_waveform.tflite",
            "role": "student",
            "wa": 0.663,
            "ua": 0.669,
            "macro_f1": 0.657,
            "latency_ms": 0.3649,
            "bytes": 637_000,
            "peak_memory_mb": 51.18,
        },
    ],
    "teaching": teaching(),
    "family": [
        {"name": "float32", "ua": 0.672, "latency_ms": 0.41, "bytes": 1_570_384},
        {"name": "float16", "ua": 0.672, "latency_ms": 0.42, "bytes": 812_000},
        {"name": "dynamic_range", "ua": 0.671, "latency_ms": 0.35, "bytes": 545_000},
        {"name": "int8", "ua": 0.664, "latency_ms": 0.208, "bytes": 560_760},
        {"name": "waveform", "ua": 0.669, "latency_ms": 0.365, "bytes": 637_000},
    ],
    "history": history(),
    "worst": [
        {
            "id": NASTY if number == 3 else f"10{number:02d}_IEO_HAP_HI",
            "speaker": f"10{number:02d}",
            "truth": "HAP",
            "predicted": "ANG",
            "probability_of_truth": 0.004 * number,
            "probability": 0.99 - 0.006 * number,
        }
        for number in range(20)
    ],
    "settings": {
        "bootstrap_resamples": 1000,
        "seed": 0,
        "noise_seed": 0,
        "gates": "Wagner et al. 2022, audEERING's model cards & tests",
        "machine": "16 cores (Some & Any CPU)",
    },
    "notes": ["RAVDESS was not there: only one other corpus."],
}


# Reading the page back.


class Page:
    """The page as a tree. It is written as XML, so that a slip in its HTML fails here."""

    def __init__(self, evaluation: dict[str, Any]):
        self.text = report(evaluation)
        self.root = ElementTree.fromstring(self.text.removeprefix("<!DOCTYPE html>\n"))

    def plot(self, name: str) -> ElementTree.Element:
        found = self.root.find(f".//svg[@id='plot-{name}']")
        assert found is not None, name
        return found

    def words(self, within: str = "body") -> str:
        """All text, with single spaces."""
        found = self.root.find(f".//{within}")
        assert found is not None, within
        return " ".join("".join(found.itertext()).split())

    def section(self, name: str) -> str:
        return self.words(f"section[@id='{name}']")

    def sections(self) -> list[str]:
        return [str(found.get("id")) for found in self.root.iter("section")]

    def table(self, name: str) -> list[list[str]]:
        """The rows of a table, the headings first."""
        found = self.root.find(f".//div[@aria-label='{name}']/table")
        assert found is not None, name
        return [["".join(cell.itertext()) for cell in row] for row in found.iter("tr")]


def page_with(**changes: Any) -> Page:
    """The sample's page, with some parts exchanged."""
    return Page({**copy.deepcopy(SAMPLE), **changes})


def numbers(shape: ElementTree.Element, *names: str) -> list[float]:
    return [float(str(shape.get(name))) for name in names]


def shapes(plot: ElementTree.Element, tag: str, kind: str) -> list[ElementTree.Element]:
    return [item for item in plot.iter(tag) if kind in str(item.get("class")).split()]


def tip(shape: ElementTree.Element) -> str:
    return shape.findtext("title") or ""


def texts(plot: ElementTree.Element) -> list[tuple[str, float, float]]:
    """Words and place of the level texts."""
    return [
        (item.text or "", *numbers(item, "x", "y")) for item in plot.iter("text") if item.get("x")
    ]


def level_ticks(
    plot: ElementTree.Element, start: float = 0, end: float = 1e9
) -> dict[float, float]:
    """Number -> x of the lowest row of plain numbers between two places."""
    found = [t for t in texts(plot) if re.fullmatch(r"[\d.]+", t[0]) and start <= t[1] <= end]
    lowest = max(y for _, _, y in found)
    return {float(words): x for words, x, y in found if y == lowest}


def upright_ticks(
    plot: ElementTree.Element, top: float = 0, bottom: float = 1e9
) -> dict[float, float]:
    """Number -> y of the numbers left of the axis, between two heights."""
    return {
        float(item.text or ""): float(str(item.get("y")))
        for item in plot.iter("text")
        if item.get("text-anchor") == "end"
        and re.fullmatch(r"[\d.]+", item.text or "")
        and top <= float(str(item.get("y"))) <= bottom
    }


def along(ticks: dict[float, float], value: float) -> float:
    """Where an axis with these ticks has ``value``."""
    (low, start), *_, (high, end) = sorted(ticks.items())
    return start + (value - low) / (high - low) * (end - start)


@pytest.fixture(scope="module")
def sample() -> Page:
    return page_with()


# The page as a whole.


def test_the_page_is_written_as_it_is_made(tmp_path):
    path = tmp_path / "new" / "report.html"
    write_report(copy.deepcopy(SAMPLE), path)
    assert path.read_text(encoding="utf-8") == report(SAMPLE)
    assert list(path.parent.iterdir()) == [path]


def test_html_tags_are_balanced(sample):
    open_tags: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag, attrs):
            open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Checker().feed(sample.text)
    assert open_tags == []
    assert sample.root.get("lang") == "en"


def test_nothing_is_fetched_and_nothing_runs(sample):
    tags = {item.tag for item in sample.root.iter()}
    assert not tags & {"script", "link", "iframe", "img", "object", "embed", "base", "use", "image"}
    for item in sample.root.iter():
        for name, value in item.attrib.items():
            assert name not in ("src", "srcset", "action"), name
            assert not name.startswith("on"), name
            assert name != "href" or value.startswith("#"), value
    assert not re.search(r"url\(|@import|@font-face", sample.words("head/style"))


def test_links_lead_somewhere_and_ids_are_unique(sample):
    ids = [item.get("id") for item in sample.root.iter() if item.get("id")]
    assert len(ids) == len(set(ids))
    links = [str(item.get("href"))[1:] for item in sample.root.iter("a")]
    assert links == sample.sections()
    assert len(links) == 14


def test_every_plot_speaks_to_those_who_hear_the_page(sample):
    plots = list(sample.root.iter("svg"))
    assert len(plots) == 13
    for plot in plots:
        assert plot.get("role") == "img"
        title, description = str(plot.get("aria-labelledby")).split()
        assert len(plot.findtext(f"title[@id='{title}']") or "") > 5
        assert len(plot.findtext(f"desc[@id='{description}']") or "") > 30
    captions = []
    for figure in sample.root.iter("figure"):
        assert figure.find("div/svg") is not None
        captions += ["".join(item.itertext()) for item in figure.iter("p")]
    assert all(len(caption) > 30 for caption in captions)
    assert len(captions) == len(set(captions))


def awkward() -> Page:
    """More and longer of everything."""
    labels = [*LABELS, "contempt", "embarrassment"]
    wide = [[*row, 12_345, 0] for row in CONFUSION] + [[1_000] * 8] * 2
    names = [
        "people from everywhere between the two oceans",
        "a-name-without-any-space-in-it-at-all",
    ]
    groups = [group(name, 1_234, 56_789, 1.0) for name in names]
    label_recall = {label: {"value": 1.0, "interval": [1, 1], "clips": 123_456} for label in labels}
    return page_with(
        labels=labels,
        corpus={**SAMPLE["corpus"], "synthetic": True},
        scores={**SAMPLE["scores"], "confusion": wide, "recall": label_recall},
        slices=[{"by": "origin", "groups": groups}],
        robustness={"conditions": [condition(n, "noise", -0.331, 1.0) for n in names], "gates": []},
        calibration={"ece": 0.1, "bins": [{**b, "clips": 1_000} for b in reliability_bins()]},
        family=[{**SAMPLE["family"][0], "name": name} for name in names],
        history=[{**row, "loss": 1_000 * row["loss"]} for row in history()],
        cross_corpus=[],
    )


@pytest.mark.parametrize("make", [page_with, awkward])
def test_no_text_leaves_its_plot(make):
    for plot in make().root.iter("svg"):
        _, _, width, height = map(float, str(plot.get("viewBox")).split())
        for item in plot.iter("text"):
            words = item.text or ""
            length = 0.5 * 12 * len(words)
            turned = re.match(r"translate\(([\d.]+) ([\d.]+)\)", item.get("transform") or "")
            x, y = map(float, turned.groups()) if turned else numbers(item, "x", "y")
            before = {"start": 0.0, "middle": length / 2, "end": length}[
                str(item.get("text-anchor"))
            ]
            # What is turned reads upwards: it begins below.
            low = height - y - before if turned else x - before
            assert low >= -1, (plot.get("id"), words)
            assert low + length <= (height if turned else width) + 1, (plot.get("id"), words)
            assert 0 <= x <= width, (plot.get("id"), words)
            assert 5 <= y <= height, (plot.get("id"), words)


# Words and tables.


def test_the_result_in_words(sample):
    """The mean over emotions is not called a share of clips."""
    assert (
        "On 738 clips of 9 speakers, the model names the right one of 6 emotions for 66.3 % of the "
        "clips (WA). The mean over emotions (UA), in which each emotion counts the same, is 66.9 "
        "%; with other speakers it might lie between 63 and 71 % (95 % interval). Guessing would "
        "give 16.7 %."
    ) in sample.words()
    assert sample.words("h1") == "Evaluation of student_waveform.tflite"
    lines = sample.words("body/ul")
    assert "Best recognised: ANG anger (88 % of its clips); worst: HAP happiness (52 %)." in lines
    assert (
        "It needs 0.365 ms for one window (3 s of sound) on one CPU thread of a computer with 16 "
        "cores (Some & Any CPU), not a phone; 637 kB of file; 51 MB of memory."
    ) in lines


def test_words_are_explained_where_they_first_stand(sample):
    said = sample.words()
    for word, meaning in (
        ("crema_d", "CREMA-D: acted English speech"),
        ("emodb", "EmoDB, the Berlin Database of Emotional Speech: acted German speech"),
        ("Corpus", "a collection of recordings"),
        ("student:", "a small model that learnt to answer as a larger one does, its teacher"),
        ("front end", "makes features of sound"),
    ):
        assert 0 <= said.index(word) <= said.index(meaning) < said.index(word) + 60, word
    robustness = sample.section("robustness")
    for word in ("White noise:", "Pink noise:", "Babble noise:", "Gain:", "mu-law:", "Opus:"):
        assert f"{word[:-1]}" in robustness, word
    terms = ["".join(term.itertext()) for term in sample.root.iter("dt")]
    for word in ("student.keras", "float32", "float16", "dynamic_range", "int8", "waveform"):
        assert word in terms, word
    assert said.count("unweighted") == said.count(" weighted") == 1
    assert "that stay" not in said


def test_an_older_file_tells_neither_window_nor_machine():
    settings = {key: value for key, value in SAMPLE["settings"].items() if key != "machine"}
    model = {key: value for key, value in SAMPLE["model"].items() if key != "window_seconds"}
    said = page_with(settings=settings, model=model).words("body/ul")
    assert "0.365 ms for one window of sound on one CPU thread of a computer, not a phone" in said


def said_of(page: Page) -> dict[str, str]:
    """The verdict at the top: its titles, and what stands there."""
    (found,) = [item for item in page.root.iter("dl") if item.get("class") == "verdict"]
    lines = [" ".join("".join(item.itertext()).split()) for item in found]
    return dict(zip(lines[::2], lines[1::2], strict=True))


def test_the_verdict(sample):
    found = said_of(sample)
    assert list(found) == [
        "Does well", "Fails with", "Other corpora", "Published limits kept",
        "Published limits missed",
    ]  # fmt: skip
    # UA 66.9 and guessing 16.7: half of the way is 41.8.
    assert found["Does well"] == (
        "Clean recordings like those it learnt from (crema_d): mean over emotions (UA) 66.9 %, "
        "guessing 16.7 %. Hardly worse with small changes, changed loudness and clipping, cut or "
        "padded clips and telephone sound: UA falls by 4.3 points at most."
    )
    assert found["Fails with"] == (
        "None of the 15 ways of spoiling the sound that were tried takes it below 41.8 %, half of "
        "the way to guessing."
    )
    assert found["Published limits kept"] == (
        "5 of 6 (whose: see Robustness): noise at 20 dB (drop of UA, labels unchanged), telephone "
        "(drop of UA, labels unchanged) and sexes (UA away from that of all)"
        "; for the sexes, 5 and 4 speakers say little."
        " Labels unchanged: how many clips keep the answer that they have when clean."
    )
    assert found["Published limits missed"].startswith("1 of 6: small changes (labels unchanged).")


def test_where_it_fails_is_named_with_the_worst():
    noises = [condition(f"white noise, {n} dB", "noise", d, 0.5) for n, d in ((20, 0.2), (5, 0.4))]
    phone = condition("telephone: 300-3400 Hz, mu-law", "phone", 0.26, 0.2)
    found = said_of(page_with(robustness={"conditions": [*noises, phone], "gates": []}))
    assert found["Fails with"] == (
        "Background noise (1 of 2 ways tried, down to 27 %) and telephone sound (41 %): UA falls "
        "below 41.8 %, half of the way to guessing."
    )
    assert "Hardly worse" not in found["Does well"]
    assert "Published limits kept" not in found


@pytest.mark.parametrize(
    ("ua", "title", "said"),
    [
        (0.59, "Does well", "Clean recordings like"),  # 58.3 is half of the way to 100
        (0.58, "Does fairly well", "Clean recordings like"),
        (0.37, "Does badly", "Already with clean recordings like"),  # 37.5 is a quarter
    ],
)
def test_how_well_it_does_is_judged_by_the_figure(ua, title, said):
    found = said_of(page_with(scores=scores(ua)))
    assert found[title].startswith(said)
    assert ("Fails with" in found) is (title != "Does badly")


def answers(share: float) -> list[list[int]]:
    """100 clips of each emotion; this share of them is called anger, the others what they are."""
    wrong = round(100 * share)
    return [[100] + [0] * 5] + [
        [wrong] + [100 - wrong if column == row else 0 for column in range(1, 6)]
        for row in range(1, 6)
    ]


@pytest.mark.parametrize(
    ("ua", "share", "said"),
    [
        (0.15, 0.0, "emodb (EmoDB, {}): fails: UA 15.0 %, no better than guessing."),
        (
            0.28, 0.8, "emodb (EmoDB, {}): fails: UA 28.0 %, little better than guessing. It says "
            "ANG anger for 83 % of the clips there; 17 % are.",
        ),
        (0.41, 0.0, "emodb (EmoDB, {}): fails: UA 41.0 %, more than half of the way to guessing."),
        (0.5, 0.35, "emodb (EmoDB, {}): clearly worse: UA 50.0 %."),
        (0.63, 0.0, "emodb (EmoDB, {}): nearly as well, or better: UA 63.0 %."),
    ],
)  # fmt: skip
def test_other_corpora_are_judged_by_the_figure(ua, share, said):
    """66.9 at home: guessing is 16.7, a quarter of the way 29.2, half of it 41.8."""
    other = {**SAMPLE["cross_corpus"][0], "scores": scores(ua, answers(share))}
    full = "the Berlin Database of Emotional Speech: acted German speech, recorded in a studio"
    assert said_of(page_with(cross_corpus=[other]))["Other corpora"] == said.format(full)


HEARD = [
    # split, clips of speakers that it was trained on, what is said of that
    ("test", 0, "It was not trained on these speakers."),
    (
        "validation", 0, "It was not trained on these speakers, but the epoch that was kept was "
        "chosen by how well it does with them: expect a little less with speakers that are wholly "
        "new.",
    ),
    ("train", 738, "It was trained on these speakers: expect less with others."),
    ("test", 738, "It was trained on these speakers: expect less with others."),
    (
        "all", 164,
        "It was trained on the speakers of 164 of these 738 clips: expect less with others.",
    ),
    ("all", 0, "It was not trained on these speakers."),
    ("test", None, ""),
    ("validation", None, ""),
    ("train", None, ""),
]  # fmt: skip


@pytest.mark.parametrize(("split", "heard", "said"), HEARD)
def test_whether_the_speakers_are_known_is_said_once(split, heard, said):
    """By what is known of the model, and not by the name of the split."""
    page = page_with(corpus={**SAMPLE["corpus"], "split": split, "heard_in_training": heard})
    lines = [" ".join("".join(item.itertext()).split()) for item in page.root.find("body/ul")]
    assert [line for line in lines if "trained" in line or "epoch" in line] == [said] * bool(said)
    lead = [p for p in page.root.iter("p") if p.get("class") == "lead"]
    assert "train" not in "".join(lead[0].itertext())
    assert ("like those it learnt from" in page.words()) is (heard is not None)


def test_nothing_is_said_of_training_where_an_older_file_tells_nothing():
    corpus = {key: value for key, value in SAMPLE["corpus"].items() if key != "heard_in_training"}
    page = page_with(corpus=corpus)
    assert "trained on these" not in page.words("body/ul")
    assert said_of(page)["Does well"].startswith("The unchanged recordings of crema_d:")


@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_speech_has_a_banner(synthetic):
    page = page_with(corpus={**SAMPLE["corpus"], "synthetic": synthetic})
    banners = [p for p in page.root.iter("p") if p.get("class") == "banner"]
    assert len(banners) == synthetic
    assert ("prove nothing about real speech" in page.words()) is synthetic


def test_summary(sample):
    rows = {row[0]: row[1:3] for row in sample.table("Summary")}
    assert rows["Mean over emotions (UA)"] == ["66.9 %", "63-71"]
    assert rows["Share of clips (WA)"] == ["66.3 %", "62-70"]
    assert rows["macro-F1"] == ["65.7 %", "62-70"]
    assert rows["ECE, calibration error"] == ["4.2 points", "-"]
    (meaning,) = [row[3] for row in sample.table("Summary") if row[0].startswith("ECE")]
    assert "true certainty too would measure 3.1 points, rarely above 5.2 points" in meaning
    assert rows["NLL"] == ["0.888 nats", "-"]
    assert rows["Time, median"] == ["0.365 ms", "-"]
    assert rows["Peak memory"] == ["51 MB", "-"]
    assert rows["File"] == ["637 kB", "-"]
    (time,) = [row[3] for row in sample.table("Summary") if row[0] == "Time, median"]
    assert time == (
        "for one window (3 s of sound), LiteRT, one CPU thread of a computer with 16 cores (Some & "
        "Any CPU), not a phone"
    )


def test_teacher_and_student(sample):
    _, teacher, keras, own = sample.table("Models compared")
    assert teacher[2:] == ["66.3 %", "66.7 %", "65.9 %", "16.2 ms", "11.9 MB", "787 MB"]
    assert keras[2:] == ["66.8 %", "67.2 %", "66.0 %", "1.73 ms", "2.0 MB", "-"]
    assert own[:2] == ["student_waveform.tflite", "student"]
    # 16.2257 / 0.3649, 11941788 / 637000, 787.2 / 51.18
    assert (
        "student_waveform.tflite against teacher ensemble (10 networks): UA about the same (0.2 "
        "points apart, within the interval 63-71), 44 times faster, 19 times smaller and 15 times "
        "less memory."
    ) in sample.section("compared")
    assert sample.table("Agreement")[2] == ["student.keras", "98.0 %", "67.2 %", "738"]


def test_a_student_that_is_worse_is_called_so():
    models = copy.deepcopy(SAMPLE["compared"])
    models[2].update(ua=0.6, bytes=4 * models[0]["bytes"], latency_ms=None)
    said = page_with(compared=models).section("compared")
    assert "UA 6.7 points lower, 4.0 times larger and 15 times less memory." in said
    assert "about the same" not in said


@pytest.mark.parametrize(
    ("teacher_ua", "speakers", "said"),
    [
        (0.6290, 9, "UA about the same (4.0 points apart, within the interval 63-71)"),
        (0.6289, 9, "UA 4.0 points higher, "),
        (0.7100, 9, "UA 4.1 points lower, "),
        (0.6680, 4, "UA 0.1 points higher (which may be chance: 4 speakers only)"),
    ],
)
def test_what_is_within_the_interval_is_about_the_same(teacher_ua, speakers, said):
    models = copy.deepcopy(SAMPLE["compared"])
    models[0]["ua"] = teacher_ua
    corpus = {**SAMPLE["corpus"], "speakers": speakers}
    assert said in page_with(compared=models, corpus=corpus).section("compared")


def test_files_that_differ_by_less_than_the_interval_are_about_the_same(sample):
    assert (
        "The files are 0.8 points apart at most, less than the interval of UA (63-71): in accuracy "
        "they are about the same."
    ) in sample.section("family")
    files = [*SAMPLE["family"], {"name": "tiny", "ua": 0.6, "latency_ms": 0.1, "bytes": 1}]
    said = page_with(family=files).section("family")
    assert "The files are 7.2 points apart at most." in said
    assert "about the same" not in said


def test_limits_are_kept_or_missed_in_words(sample):
    """The published ones and ours are counted apart, and nowhere together."""
    rows = {row[0]: row[1:] for row in sample.table("Published limits")}
    assert rows["noise at 20 dB: drop of UA"] == [
        "at most 5.0 points", "1.6 points", "white noise, 20 dB", "kept"
    ]  # fmt: skip
    assert rows["small changes: labels unchanged"][-1] == "\N{MULTIPLICATION SIGN} missed"
    ours = {row[0]: row[1:] for row in sample.table("Harder limits of ours")}
    assert ours["noise at 5 dB: labels unchanged"] == [
        "at least 90.0 %", "61.3 %", "white noise, 5 dB", "\N{MULTIPLICATION SIGN} missed"
    ]  # fmt: skip
    cells = [cell.get("class") for cell in sample.root.iter("td") if "missed" in (cell.text or "")]
    assert cells == ["loud"] * 3
    assert sum(cell.get("class") == "quiet" for cell in sample.root.iter("td")) == 6
    said = sample.section("robustness")
    assert "Published limits: 5 of 6 kept" in said
    assert "Harder limits of ours: 1 of 3 kept" in said
    assert not re.search(r"\d of \d+ limits", sample.words())
    assert "Of the sexes there are 5 and 4 speakers: too few to be sure." in said


def test_a_gate_without_bound_and_publisher():
    plain = {"name": "phone: unchanged", "limit": 0.5, "worst": 0.8, "condition": None, "met": True}
    page = page_with(robustness={"conditions": [], "gates": [plain]})
    row = ["phone: unchanged", "at least 50.0 %", "80.0 %", "-", "kept"]
    assert page.table("Published limits")[1] == row
    assert page.root.find(".//svg[@id='plot-robustness']") is None
    assert "Fails with" not in said_of(page)


def test_what_misses_a_limit_has_a_cross_and_a_hollow_bar(sample):
    plot = sample.plot("robustness")
    missed = {tip(bar): numbers(bar, "y")[0] for bar in shapes(plot, "rect", "missed")}
    assert set(missed) == {
        "gain -2 dB: 98.5 %, missed: small changes: labels unchanged at least 99.0 %",
        "0.3 % of the samples clipped: 98.5 %, missed: small changes: labels unchanged at least "
        "99.0 %",
        *(f"{name}, missed: noise at 5 dB: drop of UA at most 5.0 points"
          for name in ("white noise, 5 dB: 49.3 %", "pink noise, 5 dB: 55.9 %",
                       "babble noise, 5 dB: 52.6 %")),
        *(f"{name}, missed: noise at 5 dB: labels unchanged at least 90.0 %"
          for name in ("white noise, 5 dB: 61.3 %", "pink noise, 5 dB: 75.8 %",
                       "babble noise, 5 dB: 68.5 %")),
    }  # fmt: skip
    crosses = [numbers(line, "y1", "y2") for line in shapes(plot, "line", "cross")]
    assert len(crosses) == 2 * (len(missed) + 1)  # one is the key
    for y in missed.values():
        assert any(sum(ends) / 2 == pytest.approx(y + 6, abs=0.02) for ends in crosses)
    assert "and a hollow bar: a limit is missed" in [words for words, _, _ in texts(plot)]
    kept = page_with(robustness={"conditions": conditions(), "gates": []}).plot("robustness")
    assert not shapes(kept, "rect", "missed") + shapes(kept, "line", "cross")


def test_other_corpora(sample):
    _, home, emodb = sample.table("Corpora")
    assert home == [
        "crema_d (this evaluation)",
        "738",
        "9",
        "66.9 %",
        "63-71",
        "66.3 %",
        "65.7 %",
        "-",
    ]
    assert emodb[:6] == ["emodb", "454", "10", "41.8 %", "37-47", "41.2 %"]
    assert emodb[-1] == "boredom 81"


def test_groups_of_few_speakers_are_not_compared(sample):
    said = sample.section("slices")
    assert "By sex, age and race: too few speakers to compare groups." in said
    assert "lowest" not in said
    assert "Groups of fewer than 5 speakers have no interval: drawn from so few" in said


def test_the_lowest_and_highest_group_among_those_with_enough_speakers():
    groups = [
        group("young", 5, 100, 0.70),
        group("old", 6, 100, 0.60),
        group("middle", 5, 100, 0.65),
        group("ancient", 4, 100, 0.10),
        group("newborn", 1, 20, 0.99),
    ]
    page = page_with(slices=[{"by": "age", "groups": groups}])
    said = page.section("slices")
    assert (
        "By age: lowest old (60.0 %), highest young (70.0 %), among those of 5 speakers or more; "
        "their intervals overlap."
    ) in said
    assert "too few speakers to compare" not in said
    assert len(shapes(page.plot("slices"), "line", "whisker")) == 3 * 3
    assert len(shapes(page.plot("slice-0"), "line", "whisker")) == 3 * 3 * len(LABELS)
    apart = page_with(slices=[{"by": "age", "groups": [groups[0], {**groups[1], "ua": 0.5,
                                                       "interval": [0.45, 0.55]}]}])  # fmt: skip
    assert "lowest old (50.0 %), highest young (70.0 %). " in apart.section("slices")


def test_what_is_long_is_folded_away(sample):
    folds = list(sample.root.iter("details"))
    assert all(fold.get("open") is None for fold in folds)
    inside = {svg.get("id") for fold in folds for svg in fold.iter("svg")}
    assert inside == {"plot-slice-0", "plot-slice-1", "plot-slice-2", "plot-training"}
    tables = {div.get("aria-label") for fold in folds for div in fold.iter("div")} - {None}
    assert tables == {"Teachers compared", "Divergence", "Worst clips", "Unreadable clips"}
    assert sample.words().count("The same groups, emotion by emotion") == 1
    assert sample.words().count("Each row holds the clips of one true emotion") == 1
    printed = sample.words("head/style").split("@media print")[1]
    assert "details::details-content { content-visibility: visible" in printed


def test_worst_clips_and_what_could_not_be_read(sample):
    rows = sample.table("Worst clips")[1:]
    assert len(rows) == 20
    assert rows[1] == ["1001_IEO_HAP_HI", "1001", "HAP happiness", "ANG anger", "98.4 %", "0.4 %"]
    assert rows[3][0] == NASTY
    assert sample.table("Unreadable clips")[1] == ["1076_MTI_SAD_XX", "no samples"]
    assert "1 clip could not be read" in sample.section("missing")
    assert "RAVDESS was not there" in sample.section("missing")


def test_what_comes_from_data_is_escaped():
    changes = {
        "labels": [NASTY, *LABELS[1:]],
        "model": {**SAMPLE["model"], "name": NASTY},
        "corpus": {**SAMPLE["corpus"], "name": NASTY, "unreadable": {NASTY: NASTY}},
        "slices": [{"by": NASTY, "groups": [group(NASTY, 2, 3, 0.5)]}],
        "notes": [NASTY],
        "family": [{**SAMPLE["family"][0], "name": NASTY}],
        "robustness": {
            "conditions": [condition(NASTY, NASTY, 0.4, 0.5)],
            "gates": [gate(NASTY, 0.1, 0.4, NASTY)],
        },
        "cross_corpus": [{**SAMPLE["cross_corpus"][0], "corpus": NASTY}],
        "settings": {"machine": NASTY, "gates": NASTY},
    }
    page = page_with(**changes)
    assert "<i>" not in page.text
    assert page.root.find("head/title").text == f"{NASTY} on {NASTY}: evaluation"
    assert page.words("h1") == f"Evaluation of {NASTY}"
    assert NASTY in page.section("missing")
    for title in ("Does well", "Fails with", "Other corpora", "Published limits missed"):
        assert NASTY.lower() in said_of(page)[title].lower(), title
    assert f"a computer with {NASTY}, not a phone" in page.words("body/ul")
    assert "".join(page.plot("slices").itertext()).count(NASTY) == 3  # heading, label, tip


def test_no_best_and_worst_where_all_are_equal():
    said = awkward().words()
    assert "Best recognised" not in said
    assert "By origin" not in said
    assert "Nothing of this lowers UA." in said


# Teachers and what they may have taught.


def test_how_often_students_answer_as_teachers_do(sample):
    plot = sample.plot("teaching")
    ticks = level_ticks(plot)
    bars = shapes(plot, "rect", "bar")
    rows = [
        (name, item)
        for row in SAMPLE["teaching"]["agreement"]
        for name, item in row["students"].items()
    ]
    assert len(bars) == len(rows) == 12
    for bar, (name, item) in zip(bars, rows, strict=True):
        x, width = numbers(bar, "x", "width")
        assert x + width == pytest.approx(along(ticks, 100 * item["same_label"]), abs=0.02)
        assert tip(bar).startswith(name.removeprefix("student, "))
    assert len(shapes(plot, "line", "whisker")) == 3 * len(bars)
    said = sample.section("teaching")
    assert "with the shares: teacher ensemble 25 %, teacher wave 75 %." in said
    assert "Not learnt from, for comparison: teacher prosody." in said
    assert "Mixed: what a student would say that had learnt these shares perfectly." in said


def test_clips_won_and_lost_by_teacher(sample):
    _, ensemble, _, prosody, mixed = sample.table("Won and lost")
    assert ensemble == [
        "teacher ensemble", "200", "60 (30 %)", "40 (67 %)", "13", "+27 (+17 to +37)",
    ]  # fmt: skip
    assert prosody[-1] == "-15 (-25 to -5)"
    assert mixed[0] == "teachers, mixed"
    rows = sample.table("Nearer to each teacher")[1:]
    assert rows[0] == ["teacher ensemble", "+21 (+13 to +29)", "-2 (-6 to +2)"]
    assert rows[2] == ["teacher prosody", "+0 (-8 to +8)", "+1 (-3 to +5)"]
    said = sample.section("teaching")
    assert (
        "Of 738 clips of 9 speakers, the distilled student wins 48 that the student from labels "
        "alone gets wrong, and loses 29 that it gets right."
    ) in said
    assert "None of this proves that a teacher helped" in said
    assert "The proof is the same training without that teacher." in said


def test_teachers_against_each_other(sample):
    assert sample.table("Teachers compared")[1:] == [
        ["teacher ensemble and teacher wave", "51.2 %", "300", "190", "1,100", "60"]
    ]
    heads, first, *_ = sample.table("Divergence")
    assert heads[1:] == ["student, labels alone", "student, distilled", "student, distilled, int8"]
    assert first == ["teacher ensemble", "0.300", "0.250", "0.260"]


def test_one_teacher_learnt_by_its_embedding_from_few_speakers():
    found = teaching()
    one = {
        **found,
        "shares": {"teacher wave": 0.0},
        "embedding_weights": {"teacher wave": 1.0},
        "speakers": 4,
        "agreement": found["agreement"][1:2],
        "between": [],
        "help": {**found["help"], "teachers": found["help"]["teachers"][1:2]},
    }
    page = page_with(teaching=one)
    said = page.section("teaching")
    assert "Learnt from the inner values (embedding) of teacher wave." in said
    for words in ("with the shares", "for comparison", "Mixed:", "different things?"):
        assert words not in said, words
    assert page.table("Won and lost")[1][-1] == "+25"
    assert page.table("Nearer to each teacher")[1][1:] == ["+30", "+11"]
    assert "no intervals, for there are too few speakers" in said
    assert not shapes(page.plot("teaching"), "line", "whisker")


def test_teaching_without_the_student_from_labels_alone():
    found = {**teaching(), "help": None}
    for row in found["agreement"]:
        del row["students"]["student, labels alone"]
    page = page_with(teaching=found)
    assert "Which teacher" not in page.section("teaching")
    assert len(shapes(page.plot("teaching"), "rect", "bar")) == 8


# Where data lack.

EMPTY: dict[str, tuple[str, Any]] = {
    "compared": ("compared", []),
    "teaching": ("teaching", {}),
    "calibration": ("calibration", None),
    "slices": ("slices", []),
    "robustness": ("robustness", None),
    "cross_corpus": ("cross", []),
    "family": ("family", []),
    "history": ("training", []),
    "worst": ("worst", []),
}


@pytest.mark.parametrize("key", EMPTY)
@pytest.mark.parametrize("absent", [True, False])
def test_a_section_without_data_is_left_out_and_named(sample, key, absent):
    name, nothing = EMPTY[key]
    evaluation = {**copy.deepcopy(SAMPLE), key: nothing}
    if key == "compared":
        evaluation["agreement"] = []
    if absent:
        del evaluation[key]
    page = Page(evaluation)
    assert page.sections() == [section for section in sample.sections() if section != name]
    title = sample.words(f"section[@id='{name}']/h2")
    assert f"Left out, with nothing to show: {title}." in page.section("missing")
    assert "Left out, with" not in sample.text


def test_the_least_that_there_can_be():
    needed = {key: SAMPLE[key] for key in ("model", "labels", "corpus")}
    page = Page({**needed, "scores": {"wa": 0.5, "ua": 0.5, "macro_f1": 0.5}})
    assert page.sections() == ["summary", "glossary", "missing"]
    assert "is 50.0 %; 9 speakers are too few" not in page.words()
    assert list(said_of(page)) == ["Does fairly well"]


@pytest.mark.parametrize(("speakers", "who"), [(1, "1 speaker is"), (4, "4 speakers are")])
def test_few_speakers_give_no_interval(speakers, who):
    page = page_with(corpus={**SAMPLE["corpus"], "speakers": speakers})
    assert f"is 66.9 %; {who} too few to say how far it might move with others." in page.words()
    assert page.table("Summary")[1][:3] == ["Mean over emotions (UA)", "66.9 %", "-"]
    assert "No intervals: there are too few speakers." in page.section("recall")
    assert shapes(page.plot("recall"), "line", "whisker") == []


def test_an_emotion_without_clips_has_an_empty_row():
    confusion = [
        row if label != "DIS" else [0] * 6 for label, row in zip(LABELS, CONFUSION, strict=True)
    ]
    page = page_with(scores=scores(0.6, confusion))
    cells = shapes(page.plot("confusion"), "rect", "cell")
    assert [cell.get("fill-opacity") for cell in cells[6:12]] == ["0.000"] * 6
    assert sum(words == "-" for words, _, _ in texts(page.plot("confusion"))) == 6


# Plots: geometry.


def test_bars_are_as_long_as_the_numbers(sample):
    plot = sample.plot("recall")
    ticks = level_ticks(plot)
    bars = shapes(plot, "rect", "bar")
    whiskers = shapes(plot, "line", "whisker")
    assert len(bars) == len(LABELS)
    assert len(whiskers) == 3 * len(LABELS)
    for number, (label, item) in enumerate(SAMPLE["scores"]["recall"].items()):
        x, width = numbers(bars[number], "x", "width")
        assert x == pytest.approx(ticks[0], abs=0.02)
        assert x + width == pytest.approx(along(ticks, 100 * item["value"]), abs=0.02)
        line, low_end, high_end = whiskers[3 * number : 3 * number + 3]
        low, high = (along(ticks, 100 * end) for end in item["interval"])
        assert numbers(line, "x1", "x2") == pytest.approx([low, high], abs=0.02)
        assert numbers(low_end, "x1", "x2") == pytest.approx([low, low], abs=0.02)
        assert numbers(high_end, "x1", "x2") == pytest.approx([high, high], abs=0.02)
        assert label in tip(bars[number])
    widths = [numbers(bar, "width")[0] for bar in bars]
    assert widths[0] / widths[3] == pytest.approx(111 / 65, rel=1e-3)
    guess, mean = shapes(plot, "line", "reference")
    assert numbers(guess, "x1")[0] == pytest.approx(along(ticks, 100 / 6), abs=0.02)
    assert numbers(mean, "x1")[0] == pytest.approx(along(ticks, 66.9), abs=0.02)


def test_bars_stand_beside_their_labels_and_figures(sample):
    plot = sample.plot("slices")
    places = {words: y for words, _, y in texts(plot)}
    bars = shapes(plot, "rect", "bar")
    names = [g["name"] for item in SAMPLE["slices"] for g in item["groups"]]
    assert len(bars) == len(names)
    for bar, name in zip(bars, names, strict=True):
        middle = numbers(bar, "y")[0] + numbers(bar, "height")[0] / 2
        assert tip(bar).startswith(f"{name}, ")
        assert abs(places[name] - middle) < 8
        figure = tip(bar).split(", ")[1]
        assert any(words == figure and abs(y - middle) < 1 for words, _, y in texts(plot))
    headings = [words for words, _, _ in texts(plot) if words.startswith("by ")]
    assert headings == ["by sex", "by age", "by race"]
    for heading, first in (("by sex", 0), ("by age", 2), ("by race", 5)):
        assert 10 < numbers(bars[first], "y")[0] - places[heading] < 25
    assert len(shapes(plot, "line", "whisker")) == 3 * 2  # those of fewer than 5 have none
    assert [tip(bar).split(", ")[-1] for bar in bars[:2]] == ["410 clips", "328 clips"]


@pytest.mark.parametrize("name", ["slices", "slice-0", "cross", "robustness"])
def test_no_line_runs_into_a_heading(sample, name):
    plot = sample.plot(name)
    places = [float(str(i.get("y"))) for i in plot.iter("text") if "heading" in str(i.get("class"))]
    assert len(places) > 1
    for line in plot.iter("line"):
        top, bottom = sorted(numbers(line, "y1", "y2"))
        assert all(bottom <= place - 8 or top >= place + 6 for place in places)


def test_letters_stay_large_enough_on_a_telephone(sample):
    """They have 12 pixels of the view box, and the page shows it no narrower than for 11."""
    style = sample.words("head/style")
    assert set(re.findall(r"font-size: ([\d.]+)px", style)) == {"12"}
    for plot in sample.root.iter("svg"):
        width = float(str(plot.get("viewBox")).split()[2])
        (least,) = re.findall(r"min-width: (\d+)px", str(plot.get("style")))
        assert 12 * int(least) / width >= 11
        assert int(least) <= 335, plot.get("id")  # a telephone of 360, less the page's edges
    assert ".plotted { overflow-x: auto }" in style


def test_rows_of_a_slice_are_grouped_by_emotion(sample):
    bars = shapes(sample.plot("slice-0"), "rect", "bar")
    assert [tip(bar).split(",")[0] for bar in bars] == ["female", "male"] * 6
    places = {words: y for words, _, y in texts(sample.plot("slice-0"))}
    assert places["ANG anger"] < numbers(bars[0], "y")[0] < numbers(bars[1], "y")[0]
    assert numbers(bars[1], "y")[0] < places["DIS disgust"] < numbers(bars[2], "y")[0]


def test_cells_of_the_confusion_matrix(sample):
    plot = sample.plot("confusion")
    cells = shapes(plot, "rect", "cell")
    assert len(cells) == 36
    for place, cell in enumerate(cells):
        row, column = divmod(place, 6)
        share = CONFUSION[row][column] / sum(CONFUSION[row])
        assert float(str(cell.get("fill-opacity"))) == pytest.approx(HEAT_FULL * share, abs=1e-3)
        assert tip(cell).startswith(f"true {LABELS[row]}, said {LABELS[column]}: ")
        x, y, width, height = numbers(cell, "x", "y", "width", "height")
        inside = [t for t, tx, ty in texts(plot) if x < tx < x + width and y < ty < y + height]
        assert inside == [f"{100 * share:.0f} %", str(CONFUSION[row][column])]
    frames = shapes(plot, "rect", "right")
    assert [numbers(f, "x", "y") for f in frames] == [numbers(c, "x", "y") for c in cells[::7]]
    assert "HAP happiness taken for ANG anger, 24 of 126 clips (19 %)" in sample.section(
        "confusion"
    )


def test_names_of_rows_and_columns(sample):
    plot = sample.plot("confusion")
    cells = shapes(plot, "rect", "cell")
    top, left = numbers(cells[0], "y")[0], numbers(cells[0], "x")[0]
    columns = [
        t for t, x, y in sorted(texts(plot), key=lambda t: t[1]) if 25 < y < top and x > left
    ]
    rows = [t for t, x, y in sorted(texts(plot), key=lambda t: t[2]) if x < left and y > top]
    assert columns == LABELS
    assert rows[::2] == LABELS
    assert rows[1::2] == ["126 clips"] * 4 + ["108 clips", "126 clips"]


def test_reliability_dots_and_counts(sample):
    plot = sample.plot("reliability")
    used = [item for item in reliability_bins() if item["clips"]]
    dots = shapes(plot, "circle", "dot")
    across, up = level_ticks(plot), upright_ticks(plot)
    assert sorted(across) == sorted(up) == [0, 20, 40, 60, 80, 100]
    assert len(dots) == len(used)
    for dot, item in zip(dots, used, strict=True):
        x, y = along(across, 100 * item["confidence"]), along(up, 100 * item["accuracy"])
        assert numbers(dot, "cx", "cy") == pytest.approx([x, y], abs=0.02)
    (diagonal,) = shapes(plot, "line", "reference")
    ends = [across[0], up[0], across[100], up[100]]
    assert numbers(diagonal, "x1", "y1", "x2", "y2") == pytest.approx(ends, abs=0.02)
    bars = shapes(plot, "rect", "bar")
    heights = [numbers(bar, "height")[0] for bar in bars]
    assert heights == pytest.approx([54 * item["clips"] / 99 for item in used], abs=0.02)
    for bar, item in zip(bars, used, strict=True):
        x, width = numbers(bar, "x", "width")
        assert x - 1 == pytest.approx(along(across, 100 * item["low"]), abs=0.02)
        assert x + width + 1 == pytest.approx(along(across, 100 * item["high"]), abs=0.02)
        assert any(t == str(item["clips"]) and x < tx < x + width for t, tx, _ in texts(plot))


def test_large_counts_stand_upright_rather_than_overlap():
    bins = [{**item, "clips": 1_000 * item["clips"]} for item in reliability_bins()]
    plot = page_with(calibration={"ece": 0.1, "bins": bins}).plot("reliability")
    (found,) = [item for item in plot.iter("text") if item.text == "99,000"]
    assert "rotate(-90)" in str(found.get("transform"))


@pytest.mark.parametrize(
    ("shift", "said"), [(-0.1, "too sure"), (0.1, "too modest"), (0, "neither")]
)
def test_too_sure_or_too_modest(shift, said):
    one = {"low": 0.6, "high": 0.667, "clips": 50, "confidence": 0.65, "accuracy": 0.65 + shift}
    page = page_with(calibration={"ece": abs(shift), "bins": [one]})
    assert said in page.section("calibration").split("points;")[1]
    assert said in page.words("body/ul")


def test_robustness_bars(sample):
    plot = sample.plot("robustness")
    bars = shapes(plot, "rect", "bar")
    everything = SAMPLE["robustness"]["conditions"]
    assert len(bars) == 2 * len(everything)
    middle = (
        numbers(bars[0], "x")[0] + numbers(bars[0], "width")[0] + numbers(bars[1], "x")[0]
    ) / 2
    left, right = level_ticks(plot, end=middle + 15), level_ticks(plot, start=middle + 15)
    by_tip = {tip(bar).split(", missed")[0]: numbers(bar, "width")[0] for bar in bars[0::2]}
    kept = {tip(bar).split(", missed")[0]: numbers(bar, "width")[0] for bar in bars[1::2]}
    for item in everything:
        width = by_tip[f"{item['name']}: {100 * item['ua']:.1f} %"]
        assert width == pytest.approx(along(left, 100 * item["ua"]) - left[0], abs=0.02)
        width = kept[f"{item['name']}: {100 * item['unchanged']:.1f} %"]
        assert width == pytest.approx(along(right, 100 * item["unchanged"]) - right[0], abs=0.02)
    clean = shapes(plot, "line", "reference")
    assert len(clean) == 7  # one per kind, and one under its words
    for line in clean:
        assert numbers(line, "x1")[0] == pytest.approx(along(left, 66.9), abs=0.02)
    assert "Hardest: white noise, 5 dB, UA 17.6 points below clean." in sample.section("robustness")


def test_files_are_where_the_axes_say(sample):
    plot = sample.plot("family")
    across = level_ticks(plot, end=250)
    up = upright_ticks(plot)
    dots = {tip(dot): numbers(dot, "cx", "cy") for dot in shapes(plot, "circle", "dot")}
    for square in shapes(plot, "rect", "chosen"):
        x, y, width, height = numbers(square, "x", "y", "width", "height")
        dots[tip(square)] = [x + width / 2, y + height / 2]
    assert [tip(square) for square in shapes(plot, "rect", "chosen")] == ["waveform, 637 kB"]
    assert len(dots) == 5
    for file in SAMPLE["family"]:
        (place,) = [at for label, at in dots.items() if label.split(",")[0] == file["name"]]
        expected = [along(across, file["latency_ms"]), along(up, 100 * file["ua"])]
        assert place == pytest.approx(expected, abs=0.05)
    assert min(across) == 0


def test_names_of_files_do_not_overlap():
    same = [{**SAMPLE["family"][0], "name": f"kind{number}"} for number in range(14)]
    plot = page_with(family=same).plot("family")
    heights = sorted(y for words, _, y in texts(plot) if words.startswith("kind"))
    assert len(heights) == 14
    assert all(b - a >= 15 for a, b in itertools.pairwise(heights))
    assert heights[0] > 0
    assert heights[-1] < float(str(plot.get("viewBox")).split()[3]) - 40


def test_files_without_a_time_are_no_dots():
    files = [*SAMPLE["family"], {"name": "slow", "ua": 0.6, "latency_ms": None, "bytes": 1}]
    assert "slow" not in page_with(family=files).section("family")
    assert "family" not in page_with(family=files[-1:]).sections()


def test_training_curves(sample):
    plot = sample.plot("training")
    loss, accuracy, validation = shapes(plot, "polyline", "curve")
    across = level_ticks(plot, end=310)
    rows = history()
    first = upright_ticks(plot, bottom=160)
    second = upright_ticks(plot, top=180)
    for line, key, ticks, factor in (
        (loss, "loss", first, 1),
        (accuracy, "accuracy", second, 100),
        (validation, "validation_ua", second, 100),
    ):
        points = [tuple(map(float, point.split(","))) for point in str(line.get("points")).split()]
        expected = [(along(across, r["epoch"]), along(ticks, factor * r[key])) for r in rows]
        assert len(points) == 50
        for point, place in zip(points, expected, strict=True):
            assert point == pytest.approx(place, abs=0.05)
    best = max(rows, key=lambda row: row["validation_ua"])
    (ring,) = shapes(plot, "circle", "ring")
    place = [along(across, best["epoch"]), along(second, 100 * best["validation_ua"])]
    assert numbers(ring, "cx", "cy") == pytest.approx(place, abs=0.05)
    said = f"kept: epoch {best['epoch']}, {100 * best['validation_ua']:.1f} %"
    lines = [words for words, _, _ in texts(plot)]
    assert said in lines
    assert " ".join(lines).count("training clips") == 3  # two curves, and the axis
    assert "validation" in lines


def test_a_history_of_one_epoch_and_one_without_validation():
    assert "kept: epoch 1," in page_with(history=history()[:1]).section("training")
    only = [{"epoch": row["epoch"], "loss": row["loss"]} for row in history()]
    plot = page_with(history=only).plot("training")
    assert len(shapes(plot, "polyline", "curve")) == 1
    assert shapes(plot, "circle", "ring") == []


@pytest.mark.parametrize(
    ("split", "name", "ua", "said"),
    [
        ("validation", "m.tflite", 0.669, "This page's figure is 66.9 %, for an exported file"),
        ("validation", "m.keras", 0.669, "This page's figure is 66.9 %."),
        ("test", "m.tflite", 0.669, "66.9 %, for it is of other clips (test part)."),
        ("validation", "m.keras", 0.5, "That is the figure of this page."),
    ],
)
def test_why_the_last_point_is_not_the_page_s_figure(split, name, ua, said):
    rows = [{"epoch": 1, "validation_ua": 0.5}, {"epoch": 2, "validation_ua": 0.4}]
    page = page_with(
        history=rows,
        scores=scores(ua),
        corpus={**SAMPLE["corpus"], "split": split},
        model={**SAMPLE["model"], "name": name},
    )
    found = page.section("training")
    assert (
        "Ring: the best epoch, 1, with 50.0 % on the validation clips. The model of that" in found
    )
    assert said in found


def test_spread_keeps_apart_and_within():
    moved = spread([50, 50, 50, 10, 99], 10, 0, 100)
    assert moved == [50, 60, 70, 10, 99]
    assert spread([99, 98, 97], 10, 0, 100) == [100, 90, 80]


def test_ticks_are_round_and_within():
    assert Scale(0, 1, 0, 100).ticks() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert Scale(65.7, 67.9, 0, 100).ticks() == pytest.approx([66, 66.5, 67, 67.5])


# Colours.


def luminance(colour: tuple[float, ...]) -> float:
    """Of WCAG 2: 0 black, 1 white."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in colour]
    return sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_everything_can_be_read_in_both_themes(colours):
    found = {name: rgb(colour) for name, colour in colours.items()}
    page, text = found["page"], found["text"]
    assert contrast(text, page) >= 7
    assert contrast(found["dim"], page) >= 4.5
    assert contrast(text, found["warning"]) >= 7
    for name in ("blue", "orange"):
        assert contrast(found[name], page) >= 4.5, name
    assert contrast(text, found["bar"]) >= 4.5  # whiskers on bars
    fullest = tuple(
        HEAT_FULL * h + (1 - HEAT_FULL) * p for h, p in zip(found["heat"], page, strict=True)
    )
    assert contrast(text, fullest) >= 4.5


def test_dark_is_for_screens_that_ask_and_paper_is_light(sample):
    style = sample.words("head/style")
    light, dark = style.split("@media screen and (prefers-color-scheme: dark)")
    assert f"--page: {LIGHT['page']}" in light
    assert f"--page: {DARK['page']}" in dark.split("}")[0]
    used = set(re.findall(r"var\(--(\w+)\)", style))
    assert used == set(LIGHT) == set(DARK)


def test_the_same_colours_tell_apart_without_colour(sample):
    style = sample.words("head/style")
    (second,) = re.findall(r"\.plot \.second \{([^}]*)\}", style)
    assert "stroke-dasharray" in second


def test_no_tensorflow_is_needed():
    code = (
        "import sys, ser_kd.evaluation.report; "
        "sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'sklearn', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
