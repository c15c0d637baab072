"""How many kernels a compiled program starts, counted in its optimized HLO text.

Every instruction that computes is a kernel of its own by then (a fusion, a product, a library call, a copy); the
bodies of inner loops count as often as they run.
"""

import re
from collections.abc import Iterable

FREE = {
    "after-all",
    "bitcast",
    "constant",
    "get-tuple-element",
    "parameter",
    "partition-id",
    "replica-id",
    "tuple",
}  # only names of what is there already
CALLS = {"call", "conditional", "while", "async-start"}  # what they call is counted in their place
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_CALLED = re.compile(r"(?:body|to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


def kernels_per_iteration(text: str) -> int:
    """Kernels in one pass of the program's main loop, the largest `while` of its entry."""
    return sum(times for _, times in kernels(text))


def kernels(text: str) -> list[tuple[str, int]]:
    """The instructions that are kernels in one pass of the main loop, and how often each runs."""
    computations, entry = _parse(text)
    bodies = [_CALLED.search(line) for opcode, line in computations[entry] if opcode == "while"]
    return max((_kernels(computations, body.group(1), 1) for body in bodies if body), key=_total)


def _parse(text: str) -> tuple[dict[str, list[tuple[str, str]]], str]:
    """Opcode and line of every instruction of every computation, and the name of the entry."""
    computations: dict[str, list[tuple[str, str]]] = {}
    entry = name = ""
    for line in text.splitlines():
        if found := _COMPUTATION.match(line):
            name = found.group(2)
            computations[name] = []
            entry = name if found.group(1) else entry
        elif name and " = " in line:
            computations[name].append((_opcode(line.split(" = ", 1)[1]), line))
    return computations, entry


def _opcode(right: str) -> str:
    """The operation of `shape opcode(operands)...`; a tuple's shape is in parentheses."""
    depth = 0
    for i, character in enumerate(right):
        depth += (character in "({[") - (character in ")}]")
        if character == " " and depth == 0:
            return right[i + 1 :].split("(", 1)[0]
    return ""


def _kernels(computations: dict[str, list[tuple[str, str]]], name: str, times: int) -> list[tuple[str, int]]:
    found = []
    for opcode, line in computations[name]:
        if 'xla_cpu_small_call="true"' in line:  # one native function
            found.append((line, times))
        elif opcode in CALLS:
            called = _CALLED.findall(line)
            if branches := _BRANCHES.search(line):
                called += [branch.strip().lstrip("%") for branch in branches.group(1).split(",")]
            trips = _TRIPS.search(line) if opcode == "while" else None
            passes = times * (int(trips.group(1)) if trips else 1)
            found += max((_kernels(computations, callee, passes) for callee in called), key=_total)
        elif opcode not in FREE and not opcode.endswith("-done"):
            found.append((line, times))
    return found


def _total(found: Iterable[tuple[str, int]]) -> int:
    return sum(times for _, times in found)
