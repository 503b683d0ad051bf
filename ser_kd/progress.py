"""What a person sees while something long runs: plain lines, at most one in 5 s."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
_SECONDS_BETWEEN_LINES = 5.0
_SILENCE_SECONDS = 10.0
_said_at = 0.0
_silence_breakers: list[Callable[[], str]] = []
"""Those of the ``never_silent`` blocks that run, the innermost last: that one speaks."""


def say(text: str = "") -> None:
    """Prints one line at once, also into a pipe or a log file."""
    global _said_at
    _said_at = time.monotonic()
    print(text, flush=True)


@contextlib.contextmanager
def never_silent(
    text: Callable[[], str] | None = None, seconds: float = _SILENCE_SECONDS
) -> Iterator[None]:
    """Says ``text()`` whenever nothing has been said for a while, from a thread of its own.

    Args:
        text: How things stand; called from that thread. None: for how long nothing was said. Within
            an inner block only that block's text is said.
        seconds: The longest silence.
    """
    text = text or (lambda: f"  still working, {duration(time.monotonic() - begun)} so far")
    ended, begun = threading.Event(), time.monotonic()

    def watch() -> None:
        rest = seconds
        while not ended.wait(rest):
            rest = max(_said_at, begun) + seconds - time.monotonic()
            if rest <= 0 and _silence_breakers[-1] is text:
                with contextlib.suppress(OSError):  # a broken pipe is for the main thread to tell
                    say(text())
            rest = rest if rest > 0 else seconds

    watcher = threading.Thread(target=watch, daemon=True)
    _silence_breakers.append(text)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        _silence_breakers.remove(text)


def duration(seconds: float) -> str:
    """``75`` -> ``1 min 15 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


class Progress:
    """Says how many of many things are done and how long the rest takes; at the end, how long.

    Args:
        what: What is done, such as ``fold 1: predicted``; the number follows.
        total: How many things there are.
        unit: What they are, such as ``clips``.
        untimed: How many come first that say nothing of the speed, while workers start.
    """

    def __init__(self, what: str, total: int, unit: str = "", untimed: int = 0) -> None:
        self.what, self.total, self.untimed = what, total, untimed
        self.unit = f" {unit}" if unit else ""
        self.done, self.speech_seconds = 0, 0.0
        self.start = self.said = time.monotonic()

    def add(self, count: int = 1, speech_seconds: float = 0.0) -> None:
        """Some more are done, of so many seconds of speech."""
        now, self.done = time.monotonic(), self.done + count
        if self.done <= self.untimed:
            self.start = self.said = now
            return
        self.speech_seconds += speech_seconds
        if now - self.said >= _SECONDS_BETWEEN_LINES and self.done < self.total:
            self.said = now
            timed = self.done - self.untimed
            rest = (now - self.start) / timed * (self.total - self.done)
            done = f"{self.done:,} of {self.total:,}{self.unit}"
            say(f"  {self.what} {done}{self._speed(now)}, {duration(rest)} left")

    def end(self) -> None:
        """All that there will be is done."""
        if self.done:
            now = time.monotonic()
            took = duration(now - self.start)
            say(f"  {self.what} {self.done:,}{self.unit} in {took}{self._speed(now)}")

    def _speed(self, now: float) -> str:
        took = max(now - self.start, 1e-6)
        return f", {self.speech_seconds / took:,.0f} s of speech/s" if self.speech_seconds else ""


def track(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Passes ``items`` on and says now and then how many are done and how long the rest takes."""
    progress = Progress(f"{what}:", total)
    for item in items:
        yield item
        progress.add()
