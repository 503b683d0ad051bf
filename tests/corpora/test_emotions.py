"""Labels in words, and labels of other corpora."""

import unicodedata

import pytest

from ser_kd.corpora.emotions import emotion, emotion_code


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("angry", "ANG"),
        ("Anger", "ANG"),
        ("ANG", "ANG"),
        (" Joy ", "HAP"),
        ("HAPPY", "HAP"),
        ("fröhlich", "HAP"),
        (unicodedata.normalize("NFD", "fröhlich"), "HAP"),
        ("Trauer", "SAD"),
        ("tristezza", "SAD"),
        ("neutral", "NEU"),
        ("fearful", "FEA"),
        ("strach", "FEA"),
        ("disgust", "DIS"),
        # Classes of their own, and words that only resemble one.
        ("calm", None),
        ("boredom", None),
        ("surprised", None),
        ("anger2", None),
        ("", None),
    ],
)
def test_the_same_emotion_under_another_name(name, code):
    assert emotion_code(name) == code


def test_codes_in_words():
    assert emotion("HAP") == "HAP happiness"
    assert emotion("boredom") == "boredom"
