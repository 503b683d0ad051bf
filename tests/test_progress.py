"""What a person sees while something long runs."""

import pytest

from ser_kd import progress


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (75, "1 min 15 s"), (3_600, "60 min 00 s")],
)
def test_durations(seconds, text):
    assert progress.duration(seconds) == text


def test_track_passes_everything_on_and_speaks_at_most_every_5_s(monkeypatch, capsys):
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    passed = []
    for item in progress.track(range(10), 10, "decoding"):
        passed.append(item)
        clock[0] += 2.0
    assert passed == list(range(10))
    assert capsys.readouterr().out.splitlines() == [
        "  decoding: 3 of 10, 14 s left",
        "  decoding: 6 of 10, 8 s left",
        "  decoding: 9 of 10, 2 s left",
    ]


def test_what_is_quick_says_nothing(capsys):
    assert list(progress.track("abc", 3, "decoding")) == ["a", "b", "c"]
    assert capsys.readouterr().out == ""
