"""What the rest of the program knows of a corpus: one ``Reader`` per corpus, in its own module."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ser_kd.config import CorpusConfig
from ser_kd.corpora.clip import Corpus, Found

Read = Callable[[Path, Path | None], Found]
"""(data folder, metadata folder or None) -> what is there, under the corpus's own labels."""
Split = Callable[[Corpus, CorpusConfig], tuple[frozenset[str], frozenset[str]]]
"""The speakers of train and of validation; everybody else is in the test set."""
Prepare = Callable[[CorpusConfig, Callable[[int, int], None] | None], Path]
"""Makes the corpus where it is missing -> its folder; told of (clips made, clips in all)."""


@dataclass(frozen=True)
class Dimension:
    """What raters gave a number for.

    Attributes:
        name: Such as ``valence``.
        low: The lower end of the raters' scale.
        high: Its upper end.
    """

    name: str
    low: float
    high: float


def valence_arousal_dominance(low: float, high: float) -> tuple[Dimension, ...]:
    """The three usual dimensions on one scale."""
    return tuple(Dimension(name, low, high) for name in ("valence", "arousal", "dominance"))


@dataclass(frozen=True)
class CorpusFacts:
    """What a model card says of a corpus.

    Attributes:
        name: With its authors and year.
        language: ISO 639 code.
        limits: Who speaks, and what that means for a model trained on it.
        licence: What it allows.
    """

    name: str = "your own"
    language: str = "und"
    limits: str = "What it was trained on is what it knows."
    licence: str = "That of your corpus: read it."


@dataclass(frozen=True)
class Reader:
    """How one corpus is read, divided and described.

    Attributes:
        read: See ``Read``.
        name_example: A file name as it is expected, for messages.
        label_map: The corpus's own labels -> classes; None = the labels are the folder's.
        to_crema_d: The same for CREMA-D's six classes, by which a model that has these is scored on
            the corpus; None = as ``label_map``.
        split: See ``Split``; None = folds of speakers, balanced by clip count.
        has_fixed_split: Whether a speaker's part does not depend on which clips are on disk.
        dimensions: What its clips are rated for (``corpora.ratings``), in output order.
        facts: For model cards.
        prepare: See ``Prepare``; None = the user gives the folder.
        download: Place of what fetches the corpus, (folder, progress=line of text) -> folder, for
            ``registry.load_object``; None = the user has to.
        synthetic: Whether no human speaks.
    """

    read: Read
    name_example: str
    label_map: Mapping[str, str] | None = None
    to_crema_d: Mapping[str, str] | None = None
    split: Split | None = None
    has_fixed_split: bool = False
    dimensions: tuple[Dimension, ...] = ()
    facts: CorpusFacts = CorpusFacts()
    prepare: Prepare | None = None
    download: str | None = None
    synthetic: bool = False
