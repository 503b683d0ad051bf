"""What a person sees while something long runs."""

import time

import pytest

from ser_kd import progress


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The time, which passes only where a test lets it."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (75, "1 min 15 s"), (3_600, "60 min 00 s")],
)
def test_durations(seconds, text):
    assert progress.duration(seconds) == text


def test_track_passes_everything_on_and_speaks_at_most_every_5_s(clock, capsys):
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


def test_speed_and_time_left_leave_out_what_came_while_workers_started(clock, capsys):
    told = progress.Progress("fold 1: predicted", 4, "clips", untimed=1)
    clock[0] += 60.0
    told.add(1, speech_seconds=30.0)
    for _ in range(3):
        clock[0] += 6.0
        told.add(1, speech_seconds=30.0)
    told.end()
    assert capsys.readouterr().out.splitlines() == [
        "  fold 1: predicted 2 of 4 clips, 5 s of speech/s, 12 s left",
        "  fold 1: predicted 3 of 4 clips, 5 s of speech/s, 6 s left",
        "  fold 1: predicted 4 clips in 18 s, 5 s of speech/s",
    ]


def test_nothing_done_is_not_reported(capsys):
    progress.Progress("decoding", 0).end()
    assert capsys.readouterr().out == ""


def test_silence_is_broken_until_the_end(capsys):
    with progress.never_silent(lambda: "still there", seconds=0.05):
        time.sleep(0.5)
    lines = capsys.readouterr().out.splitlines()
    assert set(lines) == {"still there"}
    assert 2 <= len(lines) <= 10
    time.sleep(0.15)
    assert capsys.readouterr().out == ""


def test_only_the_innermost_breaks_the_silence(capsys):
    with progress.never_silent(lambda: "outer", seconds=0.05):
        with progress.never_silent(lambda: "inner", seconds=0.05):
            time.sleep(0.3)
        inner = capsys.readouterr().out.splitlines()
        time.sleep(0.3)
    assert set(inner) == {"inner"}
    assert set(capsys.readouterr().out.splitlines()) == {"outer"}


def test_without_a_text_it_says_how_long_it_has_worked(capsys):
    with progress.never_silent(seconds=0.05):
        time.sleep(0.2)
    assert set(capsys.readouterr().out.splitlines()) == {"  still working, 0 s so far"}


def test_who_speaks_needs_no_reminder(capsys):
    with progress.never_silent(lambda: "still there", seconds=5.0):
        progress.say("a line")
    assert capsys.readouterr().out == "a line\n"
