"""What is to be timed: every combination of model, delegate, threads and XNNPACK, shuffled."""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ser_kd.android_bench.model import Model

DELEGATES = ("cpu", "gpu", "nnapi", "npu")
XNNPACK = ("on", "off", "default")


@dataclass(frozen=True)
class Configuration:
    """One line of a table.

    Attributes:
        model: ``Model.name``.
        threads: Of the CPU.
        delegate: One of ``DELEGATES``.
        xnnpack: ``on`` and ``off`` give the flag, ``default`` does not; with another delegate than
            the CPU's it is always ``default``: two at once would be neither's figure.
    """

    model: str
    threads: int
    delegate: str
    xnnpack: str

    def flags(self) -> list[str]:
        """Its flags for ``benchmark_model``, without the model."""
        flags = [f"--num_threads={self.threads}"]
        if self.xnnpack != "default":
            flags.append(f"--use_xnnpack={'true' if self.xnnpack == 'on' else 'false'}")
        if self.delegate != "cpu":
            flags.append(f"--use_{self.delegate}=true")
        return flags

    @property
    def judged_delegate(self) -> str:
        """The delegate whose share of the graph is of interest, as the parser calls it."""
        return "XNNPACK" if self.delegate == "cpu" else self.delegate.upper()

    def as_json(self) -> dict[str, Any]:
        """Its four columns."""
        return asdict(self)

    def __str__(self) -> str:
        xnnpack = "" if self.xnnpack == "default" else f" xnnpack-{self.xnnpack}"
        return f"{self.model} {self.delegate} {self.threads}t{xnnpack}"


def configurations(
    models: Sequence[Model],
    threads: Sequence[int],
    delegates: Sequence[str],
    xnnpack: Sequence[str],
) -> list[Configuration]:
    """All combinations, in the order of the arguments, none of them twice."""
    return list(
        dict.fromkeys(
            Configuration(model.name, count, delegate, choice if delegate == "cpu" else "default")
            for delegate in delegates
            for choice in xnnpack
            for count in threads
            for model in models
        )
    )


def shuffled(
    matrix: Sequence[Configuration], repetitions: int, seed: int
) -> list[tuple[int, Configuration]]:
    """Every configuration once in each repetition, in another order each time.

    A device that grows warm, or an app that wakes up, then hits all of them alike.

    Returns:
        (repetition from 1 on, configuration).
    """
    generator = random.Random(seed)
    order = []
    for repetition in range(1, repetitions + 1):
        order += [(repetition, item) for item in generator.sample(matrix, len(matrix))]
    return order
