"""What the lines of a log say about delegates, and which of them holds."""

from __future__ import annotations

import re
from dataclasses import replace

from ser_kd.android_bench.tool_output.figures import Delegate, State

_CREATED = re.compile(r"Created TensorFlow Lite (?:(\S+) )?delegate for (\w+)")
_PROVIDED = re.compile(r"(\S+) delegate created\.$")
_APPLIED = re.compile(
    r"(?:Explicitly a|A)pplied (\S+) delegate, and the model graph will be "
    r"(completely|partially) executed(?:.* w/ ([0-9]{1,9}) delegate kernels)?"
)
_UNUSED = re.compile(
    r"Though (\S+) delegate is (?:explicitly )?applied, the model graph will not be"
)
_REPLACING = re.compile(
    r"Replacing ([0-9]{1,9}) out of ([0-9]{1,9}) node\(s\) with delegate \(([^()]+)\)"
)
_FAILED = re.compile(
    r"(?:Failed to|Could not|Unable to) (?:apply|create|load) (?:the )?(\S+) delegate\b"
    r"|(\S+) (?:acceleration|[Dd]elegate) is (?:unsupported|not supported)"
)
_UNDONE = "Restored original execution plan after delegate application failure"


class DelegateLines:
    """Collects the lines of one run that tell of delegates.

    Attributes:
        found: By name, in the order of their first mention.
    """

    def __init__(self) -> None:
        self.found: dict[str, Delegate] = {}
        self._evidence: dict[str, int] = {}  # how strong the line was that a state comes from
        self._last_replacing = ""

    def read(self, message: str) -> bool:
        """Takes what a line says of a delegate; False when it says nothing, or that it failed."""
        if match := _CREATED.match(message):
            self._note(match[1] or match[2], "created", evidence=0)
        elif match := _PROVIDED.match(message):
            self._note(match[1], "created", evidence=0, requested=True)
        elif match := _REPLACING.match(message):
            replaced, total = int(match[1]), int(match[2])
            state: State = "completely" if replaced == total else "partially"
            self._last_replacing = match[3]
            self._note(
                match[3],
                state if replaced else "not applied",
                evidence=1,
                replaced_nodes=replaced,
                total_nodes=total,
            )
        elif match := _APPLIED.match(message):
            state = "completely" if match[2] == "completely" else "partially"
            kernels = int(match[3]) if match[3] else None
            self._note(match[1], state, evidence=2, requested=True, kernels=kernels)
        elif match := _UNUSED.match(message):
            self._note(match[1], "not applied", evidence=2, requested=True)
        elif match := _FAILED.match(message):
            self._note(match[1] or match[2], "failed", evidence=3, requested=True)
            return False
        elif message.startswith(_UNDONE) and self._last_replacing:
            self._note(self._last_replacing, "failed", evidence=3)
            return False
        else:
            return False
        return True

    def _note(
        self,
        name: str,
        state: State,
        *,
        evidence: int,
        requested: bool = False,
        kernels: int | None = None,
        replaced_nodes: int | None = None,
        total_nodes: int | None = None,
    ) -> None:
        """Merges a mention of a delegate. Of two of the same strength the first holds.

        Nodes are replaced subgraph by subgraph, the main one first.
        """
        name = _delegate_name(name)
        known = self.found.get(name, Delegate(name))
        if evidence > self._evidence.get(name, -1):
            self._evidence[name] = evidence
            known = replace(known, state=state)
        if known.total_nodes is None:
            known = replace(known, replaced_nodes=replaced_nodes, total_nodes=total_nodes)
        self.found[name] = replace(
            known,
            requested=known.requested or requested,
            kernels=known.kernels if kernels is None else kernels,
        )


def _delegate_name(raw: str) -> str:
    """TfLiteXNNPackDelegate -> XNNPACK, LITERT_CL -> GPU, DispatchDelegate -> NPU."""
    name = re.sub(r"^TfLite|Delegate(V\d+)?$", "", raw).upper()
    if name.startswith("LITERT_"):  # LiteRT's GPU delegate is called after its backend
        return "GPU"
    return {"DISPATCH": "NPU"}.get(name, name)
