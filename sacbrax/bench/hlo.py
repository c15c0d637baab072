"""How many kernels a compiled program starts, counted in its optimized HLO text.

Every instruction that computes is a kernel of its own by then (a fusion, a product, a library call, a copy); the
bodies of inner loops count as often as they run.
"""

import re

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
    computations, entry = _parse(text)
    bodies = [_CALLED.search(line) for opcode, line in computations[entry] if opcode == "while"]
    return max(_count(computations, body.group(1)) for body in bodies if body)


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


def _count(computations: dict[str, list[tuple[str, str]]], name: str) -> int:
    total = 0
    for opcode, line in computations[name]:
        if 'xla_cpu_small_call="true"' in line:  # one native function
            total += 1
        elif opcode in CALLS:
            called = _CALLED.findall(line)
            if branches := _BRANCHES.search(line):
                called += [branch.strip().lstrip("%") for branch in branches.group(1).split(",")]
            trips = _TRIPS.search(line) if opcode == "while" else None
            total += max(_count(computations, c) for c in called) * (int(trips.group(1)) if trips else 1)
        elif opcode not in FREE and not opcode.endswith("-done"):
            total += 1
    return total
