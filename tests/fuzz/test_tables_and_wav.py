"""A few examples of each check of ``tables_and_wav``, the same ones each time."""

from collections.abc import Callable

import pytest
from fuzz.tables_and_wav import CHECKS, run


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_few_examples(check: Callable[[], None]) -> None:
    run(check, examples=40)
