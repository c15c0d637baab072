"""What XLA's texts say of a program for a GPU: its kernels by their source, what became a graph, which loops meet the
host. Knows no JAX."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from sacbrax.bench import hlo

# File and function of ours -> what a kernel is for. The innermost place that is here decides; networks are for whoever
# calls them.
PARTS = (
    ("engines/", "", "physics"),
    ("training/replay.py", "", "replay"),
    ("agents/adam.py", "", "Adam"),
    ("agents/actor_critic.py", "_apply", "Adam"),
    ("agents/normalizer.py", "", "normalizer"),
    ("xla/random.py", "", "draws"),
    ("envs/vector_env.py", "_fresh", "resets"),
    ("envs/", "", "environments"),
    ("agents/actor_critic.py", ".act", "acting"),
    ("agents/soft_actor_critic.py", "_td_target", "losses"),
    ("agents/soft_actor_critic.py", ".update", "losses"),
    ("training/", "", "loop"),
)
UNKNOWN = "XLA's own"  # copies, and what has no place in the source
_TABLES = ("FileNames", "FunctionNames", "FileLocations", "StackFrames")
_COLLECTIVE = re.compile(
    r"= (?P<result>\(?[a-z]+\d*\[.*?) (?P<operation>all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)"
    r"(-start)?\("
)
_SHAPE = re.compile(r"([a-z]+\d*)\[([\d,]*)\]")
_FRAME, _OPERATION = re.compile(r"stack_frame_id=(\d+)"), re.compile(r"\s*(\d+): (k\w+)")


def kernels_by_part(text: str) -> dict[str, int]:
    """Kernels in one pass of the main loop of an optimized program, by what they are for, most first."""
    places, counts = _Places(text), Counter[str]()
    for line, times in hlo.kernels(text):
        counts[places.part(line)] += times
    return dict(counts.most_common())


def collectives(text: str) -> dict[str, dict[str, int]]:
    """What devices tell each other in one pass of the main loop, by operation: `messages`, and the `bytes` that each
    device has of them in the end."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for line, times in hlo.kernels(text):
        if match := _COLLECTIVE.search(line):
            shapes = [_bytes(*shape) for shape in _SHAPE.findall(match["result"])]
            # The start of a gathering has what goes in beside what comes out.
            size = max(shapes) if match["operation"] != "all-reduce" else sum(shapes)
            found[match["operation"]].update(messages=times, bytes=times * size)
    return {name: dict(counts) for name, counts in sorted(found.items())}


def _bytes(dtype: str, dimensions: str) -> int:
    bits = int("".join(filter(str.isdigit, dtype)) or 8)  # pred is a byte
    return math.prod(map(int, filter(None, dimensions.split(",")))) * bits // 8


def graphs_and_loops(thunks: str) -> dict[str, int]:
    """Of XLA's list of what a program starts: `graphs`, `host_loops` outside them, each pass of which waits for the
    host, and `outside_graphs`, other operations that are started one by one."""
    found = Counter({"graphs": 0, "host_loops": 0, "outside_graphs": 0})
    above: list[tuple[int, bool]] = []  # indentation, and whether in a graph, of the lines around
    for line in thunks.splitlines():
        if not (match := _OPERATION.match(line)):
            continue
        indent, kind = match.start(1), match.group(2)
        while above and above[-1][0] >= indent:
            above.pop()
        inside = bool(above and above[-1][1])
        if not inside:
            names = {"kCommandBuffer": "graphs", "kWhile": "host_loops", "kConditional": "host_loops"}
            found[names.get(kind, "outside_graphs")] += 1
        above.append((indent, inside or kind == "kCommandBuffer"))
    return dict(found)


def registers_and_spills(report: str) -> tuple[int, int]:
    """The most registers of a thread and the bytes that are spilled, of all kernels in what `ptxas -v` says."""
    registers = [int(count) for count in re.findall(r"Used (\d+) registers", report)]
    spills = [int(size) for size in re.findall(r"(\d+) bytes spill stores", report)]
    return max(registers, default=0), sum(spills)


class _Places:
    """Where the instructions of a program come from, by the tables at its head."""

    def __init__(self, text: str):
        self._tables: dict[str, dict[int, str]] = {name: {} for name in _TABLES}
        table: dict[int, str] | None = None
        for line in text.splitlines():
            if line.strip() in _TABLES:
                table = self._tables[line.strip()]
            elif table is not None and (row := re.match(r"(\d+) (.*)", line)):
                table[int(row[1])] = row[2]
            elif line.strip():
                table = None

    def part(self, line: str) -> str:
        """What the kernel of this instruction is for."""
        if frame := _FRAME.search(line):
            for file, function in self._frames(int(frame[1])):
                for path, name, part in PARTS:
                    if file.startswith(path) and name in function:
                        return part
        return UNKNOWN

    def _frames(self, number: int) -> Iterator[tuple[str, str]]:
        """Our file and function of a frame and of those around it, the innermost first."""
        while frame := self._tables["StackFrames"].get(number):
            place = self._tables["FileLocations"][_number("file_location_id", frame)]
            file = self._tables["FileNames"][_number("file_name_id", place)].strip('"')
            if "sacbrax/" in file:
                function = self._tables["FunctionNames"][_number("function_name_id", place)]
                yield file.rpartition("sacbrax/")[2], function.strip('"')
            number = _number("parent_frame_id", frame) - 1  # written as one more than it is: 1 is none


def _number(name: str, text: str) -> int:
    found: Any = re.search(rf"{name}=(\d+)", text)
    return int(found[1])
