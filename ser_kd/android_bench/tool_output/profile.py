"""The operator profile: what each node of the graph took, from a log or a CSV file."""

from __future__ import annotations

from ser_kd.android_bench.tool_output.figures import OpTime, Phase
from ser_kd.android_bench.tool_output.lines import messages, number


def parse_op_csv(text: str | bytes) -> tuple[OpTime, ...]:
    """Reads an operator profile: --op_profiling_output_mode=csv or stdout, a file or a log.

    Args:
        text: the profile. Only "Run Order" is read: the other tables are sums of its rows.

    Returns:
        The rows in the order of execution; a damaged row is left out.
    """
    table = OpTable()
    for message, _, is_whole in messages(text):
        if is_whole:
            table.read(message)
    return tuple(table.ops)


class OpTable:
    """Collects the rows of "Run Order" tables, the one of the initialisation and the main one."""

    def __init__(self) -> None:
        self.ops: list[OpTime] = []
        self._phase: Phase = "run"
        self._title = "Run Order"  # a CSV can have been cut out of its file without its title
        self._has_start = False
        self._is_csv = False
        self._is_reading = False

    def read(self, message: str) -> bool:
        """Takes a line; False when it is not a part of a table."""
        if message.startswith("======"):
            self._title = message.strip("= ")
            self._is_reading = False
        elif "Profiling Info for" in message:
            self._phase = "init" if "Initialization" in message else "run"
            self._is_reading = False
        elif "[node type]" in message or message.startswith("node type, "):
            has_rows = "[first]" in message or ", first, " in message
            self._is_reading = self._title == "Run Order" and has_rows
            self._is_csv = "[node type]" not in message
            self._has_start = "[start]" in message or ", start, " in message
        elif self._is_reading and (op := self._row(message)):
            self.ops.append(op)
        else:
            self._is_reading &= message != ""  # a blank line ends the table
            return False
        return True

    def _row(self, message: str) -> OpTime | None:
        times = 3 if self._has_start else 2
        if self._is_csv:
            # Types hold commas, names do not: the tool makes tabs of theirs.
            cells = f"{message} ".rsplit(", ", times + 5)
            name = cells[-1].strip().replace("\t", ",")
        else:
            cells, name = self._table_cells(message, times)
        if len(cells) != times + 6 or not cells[0]:
            return None
        percents = cells[times + 1 : times + 3]
        if not all(cell.endswith("%") for cell in percents):
            return None
        numbers = [number(cell.removesuffix("%")) for cell in cells[1:-1]]
        values = [value for value in numbers if value is not None]
        if len(values) != len(numbers):
            return None
        *start, first, average, percent, cdf_percent, mem_kb, times_called = values
        return OpTime(
            node_type=cells[0],
            name=name,
            first_us=_ms_to_us(first),
            avg_us=_ms_to_us(average),
            percent=percent,
            cdf_percent=cdf_percent,
            mem_kb=mem_kb,
            times_called=int(times_called),
            start_us=_ms_to_us(start[0]) if start else None,
            phase=self._phase,
        )

    @staticmethod
    def _table_cells(message: str, times: int) -> tuple[list[str], str]:
        """Splits an aligned row at its two percentages: terminals turn the tabs into blanks."""
        words = message.split()
        for i in range(times + 1, len(words) - 3):
            if words[i].endswith("%") and words[i + 1].endswith("%"):
                name = " ".join(words[i + 4 :])
                return [" ".join(words[: i - times]), *words[i - times : i + 4], name], name
        return [], ""


def _ms_to_us(milliseconds: float) -> float:
    return round(milliseconds * 1000, 6)
