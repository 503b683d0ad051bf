"""What every fuzzer here has in common: checks by name, drawn examples, a time limit."""

import argparse
import time
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from ser_kd.android_bench.errors import BenchError
from ser_kd.errors import UserError

T = TypeVar("T")
HANGS_SECONDS = 5.0
Checks = dict[str, tuple[Callable[..., None], dict[str, st.SearchStrategy[Any]]]]
"""Name -> what is checked, and what its arguments are drawn from."""


def adds_to(checks: Checks) -> Callable[..., Callable[[Callable[..., None]], None]]:
    """A decorator that adds a function to the checks, its arguments drawn from what it is given."""

    def check(**strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], None]:
        def add(body: Callable[..., None]) -> None:
            checks[body.__name__] = body, strategies

        return add

    return check


def tried(read: Callable[[], T]) -> tuple[T | None, str]:
    """What is read, or the one line that refuses it; any other exception is a fault."""
    try:
        return read(), ""
    except (UserError, BenchError) as error:
        message = str(error)
    assert "\n" not in message, message
    return None, message


def run(checks: Checks, name: str, examples: int, number: int = 0) -> None:
    """Tries a check on examples that the number decides."""
    body, strategies = checks[name]
    chosen = settings(
        max_examples=examples,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    chosen(seed(number)(given(**strategies)(body)))()


def main(checks: Checks, text: str | None) -> None:
    """Runs all checks in turn until the time is over; a fault ends it with the smallest example."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--examples", type=int, default=500, help="of a check, each time")
    parser.add_argument("--checks", default="", help="those whose name holds this")
    arguments = parser.parse_args()
    names = [name for name in checks if arguments.checks in name]
    end, number = time.monotonic() + 60 * arguments.minutes, 0
    while time.monotonic() < end:
        for name in names:
            run(checks, name, arguments.examples, number)
        number += 1
        print(
            f"{number * arguments.examples:,} examples of each of {len(names)} checks", flush=True
        )
