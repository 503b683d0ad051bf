"""Where the vectors come from that some teachers learn from, as a recipe spells it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ModalitySource:
    """Where a modality's vectors come from (``ser_kd.teachers.modalities``).

    Attributes:
        kind: ``votes``, ``teacher`` or ``file``.
        name: The channel, the teacher or the path.
        embedding: Whether a teacher's embedding is wanted beside its logits.
    """

    kind: Literal["votes", "teacher", "file"]
    name: str
    embedding: bool = False

    @classmethod
    def parse(cls, text: str) -> "ModalitySource | None":
        """Reads ``votes:<channel>``, ``teacher:<name>[:embedding]`` or ``file:<path>.npz``."""
        kind, _, name = text.partition(":")
        if kind == "votes" and name in ("voice", "face", "multimodal"):
            return cls("votes", name)
        if kind == "teacher" and name.removesuffix(":embedding"):
            return cls("teacher", name.removesuffix(":embedding"), name.endswith(":embedding"))
        return cls("file", name) if kind == "file" and name.endswith(".npz") else None

    @classmethod
    def parse_all(cls, texts: Mapping[str, str]) -> "dict[str, ModalitySource]":
        """Name -> where it comes from; what is misspelt is left out."""
        read = {name: cls.parse(text) for name, text in texts.items()}
        return {name: source for name, source in read.items() if source is not None}
