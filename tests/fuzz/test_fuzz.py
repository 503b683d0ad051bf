"""A few examples of each check of the fuzzers, the same ones each time."""

import pytest
from fuzz import frame, models_and_logs, recipes, tables_and_wav

CHECKS = tables_and_wav.CHECKS | recipes.CHECKS | models_and_logs.CHECKS


@pytest.mark.parametrize("name", CHECKS)
def test_a_few_examples(name: str) -> None:
    frame.run(CHECKS, name, examples=40)
