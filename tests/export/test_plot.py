"""The plot of the exported files: every file is in it, and it follows light and dark themes."""

import xml.etree.ElementTree as ElementTree

from ser_kd.export.plot import family_svg

SVG = "{http://www.w3.org/2000/svg}"
MODELS = {
    "float32": {"ua": 0.70, "latency_ms": 0.4, "bytes": 1_500_000},
    "int8": {"ua": 0.69, "latency_ms": 0.2, "bytes": 500_000},
    "waveform": {"ua": 0.69, "latency_ms": 0.4, "bytes": 600_000},
}


def test_every_file_is_named_with_its_size():
    root = ElementTree.fromstring(family_svg("a & b <c>", MODELS, 0.70))
    texts = [text.text for text in root.iter(SVG + "text")]
    for label in ("float32, 1,500 kB", "int8, 500 kB", "waveform, 600 kB", "a & b <c>"):
        assert label in texts


def test_the_same_figures_give_the_same_file():
    assert family_svg("a", MODELS, 0.70) == family_svg("a", MODELS, 0.70)


def test_light_and_dark_and_nothing_from_the_network():
    text = family_svg("a", MODELS, 0.70)
    assert "prefers-color-scheme: dark" in text
    assert "var(--blue)" in text
    assert "var(--orange)" in text
    links = [word for word in text.split('"') if word.startswith("http")]
    assert all(link.startswith("http://www.w3.org/") for link in links)
