"""What a person sees while something long runs: plain lines, at most one in 5 s."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
_SECONDS_BETWEEN_LINES = 5.0


def say(text: str = "") -> None:
    """Prints one line at once, also into a pipe or a log file."""
    print(text, flush=True)


def duration(seconds: float) -> str:
    """``75`` -> ``1 min 15 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def track(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Passes ``items`` on and says now and then how many are done and how long the rest takes."""
    start = said = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - said >= _SECONDS_BETWEEN_LINES and done < total:
            said = now
            rest = (now - start) / done * (total - done)
            say(f"  {what}: {done:,} of {total:,}, {duration(rest)} left")
