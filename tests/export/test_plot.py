"""The plot of the exported family: dots where they belong, labels that can be read."""

import itertools
import re
import xml.etree.ElementTree as ElementTree

import pytest

from ser_kd.export.plot import family_svg

SVG = "{http://www.w3.org/2000/svg}"
MODELS = {
    "float32": {"ua": 0.70, "latency_ms": 0.4, "bytes": 1_500_000},
    "int8": {"ua": 0.69, "latency_ms": 0.2, "bytes": 500_000},
    "waveform": {"ua": 0.69, "latency_ms": 0.4, "bytes": 600_000},
}


def plot(models=MODELS, title="a & b", keras_ua=0.70) -> ElementTree.Element:
    return ElementTree.fromstring(family_svg(title, models, keras_ua))


def test_dots_are_where_the_axes_say():
    root = plot()
    dots = [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter(SVG + "circle")]
    ticks = {
        t.text: (float(t.get("x")), float(t.get("y")))
        for t in root.iter(SVG + "text")
        if re.fullmatch(r"[0-9.]+", t.text or "")
    }
    (x0, _), (x2, _) = ticks["0"], ticks["0.2"]
    (_, y69), (_, y70) = ticks["69"], ticks["70"]
    for (cx, cy), model in zip(dots, MODELS.values(), strict=True):
        assert cx == pytest.approx(x0 + (x2 - x0) * model["latency_ms"] / 0.2, abs=0.2)
        assert cy + 4 == pytest.approx(y69 + (y70 - y69) * (100 * model["ua"] - 69), abs=0.2)
    assert [c.get("class") for c in root.iter(SVG + "circle")] == [None, None, "chosen"]


def test_labels_keep_apart_and_inside():
    same = {f"kind{number}": {**MODELS["int8"]} for number in range(5)}
    for models in (MODELS, same):
        texts = [t for t in plot(models).iter(SVG + "text") if " kB" in (t.text or "")]
        assert len(texts) == len(models)
        heights = sorted(float(t.get("y")) for t in texts)
        assert all(b - a >= 16 for a, b in itertools.pairwise(heights))
        assert 0 < heights[0] < heights[-1] < 400


def test_title_and_sizes_are_there():
    text = "".join(plot().itertext())
    assert "a & b" in text
    assert "int8, 500 kB" in text
