"""A few examples of each check of ``tables_and_wav``, the same ones each time."""

import pytest
from fuzz.tables_and_wav import CHECKS, run


@pytest.mark.parametrize("name", CHECKS)
def test_a_few_examples(name: str) -> None:
    run(name, examples=40)
