"""Metrics side by side and apart again, also stacked by a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sacbrax.training.side_by_side import SideBySide

METRICS = {"loss": jnp.float32(1.5), "count": jnp.int32(3), "entropy": jnp.float32(-2), "skipped": jnp.int32(0)}


@pytest.mark.parametrize(
    ("small", "rows"), [(False, {"float32": (2,), "int32": (2,)}), (True, {"float32": (4,)})], ids=["large", "small"]
)
def test_one_row_a_type_and_the_metrics_come_back(small: bool, rows: dict[str, tuple[int]]) -> None:
    packed = SideBySide.of(METRICS, small)
    assert {row.dtype.name: row.shape for row in packed.rows} == rows
    apart = packed.apart()
    assert list(apart) == sorted(METRICS)
    for name, value in METRICS.items():
        assert apart[name].dtype == value.dtype
        assert apart[name] == value


def test_a_loop_stacks_and_adds_them() -> None:
    def body(total: SideBySide, factor: jax.Array) -> tuple[SideBySide, SideBySide]:
        new = SideBySide.of({name: value * factor.astype(value.dtype) for name, value in METRICS.items()})
        return jax.tree.map(jnp.add, total, new), new

    total, stacked = jax.jit(lambda factors: jax.lax.scan(body, SideBySide.of(METRICS), factors))(jnp.arange(1.0, 4.0))
    assert {name: float(value) for name, value in total.apart().items()} == {
        "count": 21,
        "entropy": -14,
        "loss": 10.5,
        "skipped": 0,
    }
    np.testing.assert_array_equal(stacked.apart()["loss"], [1.5, 3.0, 4.5])
