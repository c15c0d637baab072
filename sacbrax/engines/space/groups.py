"""Rows of nodes, [K, N] by group: taken from what carries a node, and given to it; of the root K is 1.

A row may be a number, which is that of all; what adds up keeps numbers as long as it can.
"""

from collections.abc import Sequence
from typing import Any

from sacbrax.core.types import Array
from sacbrax.engines.rows import Row, add, column, plus
from sacbrax.engines.space.mechanism import ROOT, Mechanism
from sacbrax.engines.space.vectors import Vector


def joined(rows: Sequence[Any]) -> Any:
    """Arrays [K, N] one after the other."""
    return rows[0] if len(rows) == 1 else _namespace(rows[0]).concatenate(rows)


def _namespace(like: Any) -> Any:
    """NumPy's functions or JAX's."""
    return like.__array_namespace__()


def whole(rows: Sequence[Row], like: Array) -> tuple[Row, ...]:
    """Rows [1, N] and numbers as [K, N], but for zeros."""
    return tuple(x if isinstance(x, float) and x == 0.0 else filled(x, like, like.shape[0]) for x in rows)


def filled(x: Row, like: Array, count: int) -> Any:
    """A row [1, N] or [K, N] or a number as [count, N]."""
    xp, shape = _namespace(like), (count, like.shape[1])
    return x if getattr(x, "shape", None) == shape else xp.broadcast_to(xp.asarray(x, like.dtype), shape)


def vectors(values: Sequence[Any], like: Array) -> Vector:
    """The same of vectors."""
    return tuple(column([float(value[k]) for value in values], like) for k in range(3))


def gathered(
    mechanism: Mechanism, group: range, root: Sequence[Row], groups: Sequence[Sequence[Row]]
) -> tuple[Row, ...]:
    """Rows of what carries each node of a group, from the root's and those of all groups before."""
    return taken(mechanism, [mechanism.nodes[i].parent for i in group], root, groups)


def taken(
    mechanism: Mechanism, nodes: Sequence[int], root: Sequence[Row], groups: Sequence[Sequence[Row]]
) -> tuple[Row, ...]:
    """Rows of nodes, [len(nodes), N] or where all are the same [1, N]."""
    if len(set(nodes)) == 1:
        nodes = nodes[:1]
    runs: list[tuple[int, range, int]] = []  # a group, nodes of it, how often
    for i in nodes:
        g, k = _where(mechanism, i)
        last = runs[-1] if runs and runs[-1][0] == g else None
        if last and last[1] == range(k, k + 1):
            runs[-1] = (g, last[1], last[2] + 1)
        elif last and last[1].stop == k and last[2] == 1:
            runs[-1] = (g, range(last[1].start, k + 1), 1)
        else:
            runs.append((g, range(k, k + 1), 1))

    def of(c: int) -> Row:
        found = [root[c] if g == ROOT else groups[g][c] for g, _, _ in runs]
        if all(isinstance(x, float) for x in found) and len(set(found)) == 1:
            return found[0]
        like = next(x for x in (*root, *(x for rows in groups for x in rows)) if not isinstance(x, float))
        parts = []
        for (g, own, times), x in zip(runs, found, strict=True):
            size = 1 if g == ROOT else len(mechanism.groups[g])
            x = filled(x, like, size)
            x = x if len(own) == size else x[own.start : own.stop]
            parts.append(filled(x, like, times) if times > 1 else x)
        return joined(parts)

    return tuple(of(c) for c in range(len(root)))


def _where(mechanism: Mechanism, node: int) -> tuple[int, int]:
    """Group of a node, and which it is there."""
    for g, group in enumerate(mechanism.groups):
        if node in group:
            return g, node - group.start
    return ROOT, 0


class Totals:
    """Rows that add up at the root and at the nodes, [1, N] and [K, N]; None where nothing came."""

    def __init__(self, mechanism: Mechanism) -> None:
        self._mechanism = mechanism
        self.root: tuple[Row, ...] | None = None
        self.groups: list[tuple[Row, ...] | None] = [None] * len(mechanism.groups)

    def give(self, g: int, rows: Sequence[Row]) -> None:
        """To all nodes of group g, or to the root."""
        if g == ROOT:
            self.root = tuple(rows) if self.root is None else plus(self.root, rows)
        else:
            before = self.groups[g]
            self.groups[g] = tuple(rows) if before is None else plus(before, rows)

    def give_to(self, nodes: Sequence[int], rows: Sequence[Row]) -> None:
        """To these nodes, one row of [len(nodes), N] each; a node may come several times."""
        by_group: dict[int, list[tuple[int, int]]] = {}
        for place, node in enumerate(nodes):
            g, k = _where(self._mechanism, node)
            by_group.setdefault(g, []).append((k, place))
        for g, pairs in by_group.items():
            if g == ROOT and self._mechanism.root is None:
                continue
            size = 1 if g == ROOT else len(self._mechanism.groups[g])
            rounds: list[list[int | None]] = []  # each gives every node at most one row
            for k, place in pairs:
                free = next((r for r in rounds if r[k] is None), None)
                if free is None:
                    free = [None] * size
                    rounds.append(free)
                free[k] = place
            self.give(g, [_added(x, rounds) for x in rows])


def _added(x: Row, rounds: list[list[int | None]]) -> Row:
    """The sum over the rounds of what each picks; x may be the number 0."""
    if isinstance(x, float):
        return x
    places, size = [p for picked in rounds for p in picked], len(rounds[0])
    if len(rounds) > 1 and places == list(range(places[0] or 0, (places[0] or 0) + len(places))):
        return _picked(x, places).reshape(len(rounds), size, x.shape[1]).sum(axis=0)
    return add(*(_picked(x, picked) for picked in rounds))


def _picked(x: Any, places: list[int | None]) -> Any:
    """x [C, ...] at these places, zeros for None."""
    start = places[0]
    if start is not None and places == list(range(start, start + len(places))):
        return x if len(places) == x.shape[0] else x[start : start + len(places)]
    zero = x[:1] * 0.0
    return joined([zero if p is None else x[p : p + 1] for p in places])
