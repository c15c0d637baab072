"""Losses: numbers worked out by hand, where gradients stop, and that a wrong rank raises."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sacbrax.agents import losses

A = jnp.asarray


def test_td_target() -> None:
    target = losses.td_target(A([1.0, 2.0]), A([0.9, 0.0]), A([10.0, 10.0]), A(5.0))
    np.testing.assert_allclose(target, [5 + 9, 10])


def test_critic_loss_sums_each_critics_half_mean_square() -> None:
    q, target = A([[1.0, 2.0], [3.0, 4.0]]), A([2.0, 2.0])
    assert losses.critic_loss(q, target) == 0.5 * (1 + 0) / 2 + 0.5 * (1 + 4) / 2
    gradient = jax.grad(losses.critic_loss, argnums=(0, 1))(q, target)
    np.testing.assert_allclose(gradient[0], [[-0.5, 0.0], [0.5, 1.0]])
    np.testing.assert_array_equal(gradient[1], 0)


def test_value_loss() -> None:
    arguments = (A([1.0, 0.0]), A([2.0, 3.0]), A([-1.0, 0.5]), A([0.25, 0.0]))
    # targets 2 + 1 + 0.25 = 3.25 and 3 - 0.5 = 2.5
    np.testing.assert_allclose(losses.value_loss(*arguments), 0.5 * (2.25**2 + 2.5**2) / 2)
    gradients = jax.grad(losses.value_loss, argnums=(0, 1, 2, 3))(*arguments)
    np.testing.assert_allclose(gradients[0], [-2.25 / 2, -2.5 / 2])
    assert all((gradient == 0).all() for gradient in gradients[1:])


def test_actor_loss() -> None:
    arguments = (A([2.0, 4.0]), A([-1.0, 3.0]), A([0.0, 0.0]), A(0.5))
    np.testing.assert_allclose(losses.actor_loss(*arguments), ((-0.5 - 2) + (1.5 - 4)) / 2)
    by_q, by_log_prob, by_temperature = jax.grad(losses.actor_loss, argnums=(0, 1, 3))(*arguments)
    np.testing.assert_allclose(by_q, [-0.5, -0.5])
    np.testing.assert_allclose(by_log_prob, [0.25, 0.25])
    assert by_temperature == 0


def test_the_log_prior_enters_the_actor_loss() -> None:
    loss = losses.actor_loss(A([2.0]), A([-1.0]), A([0.7]), A(1.0))
    np.testing.assert_allclose(loss, -1 - 2 - 0.7, rtol=1e-6)


def test_temperature_loss_descends_where_entropy_is_above_its_target() -> None:
    log_prob, target = A([-3.0, -1.0]), A(-0.5)  # entropy 2 above the target -0.5
    loss = losses.temperature_loss(A(0.3), log_prob, target)
    np.testing.assert_allclose(loss, -0.3 * (-2 - 0.5), rtol=1e-6)
    slope = jax.grad(losses.temperature_loss, argnums=(0, 1))(A(0.3), log_prob, target)
    np.testing.assert_allclose(slope[0], 2.5)
    assert (slope[1] == 0).all()


VECTOR, MATRIX = jnp.zeros(3), jnp.zeros((3, 1))


@pytest.mark.parametrize(
    ("loss", "arguments"),
    [
        (losses.td_target, (VECTOR, MATRIX, VECTOR, A(1.0))),
        (losses.critic_loss, (VECTOR, VECTOR)),
        (losses.critic_loss, (jnp.zeros((2, 3)), MATRIX)),
        (losses.value_loss, (MATRIX, VECTOR, VECTOR, VECTOR)),
        (losses.actor_loss, (jnp.zeros((2, 3)), VECTOR, VECTOR, A(1.0))),
        (losses.temperature_loss, (A(0.0), MATRIX, A(1.0))),
    ],
)
def test_a_wrong_rank_raises(loss: Any, arguments: Any) -> None:
    with pytest.raises(ValueError, match="expected rank"):
        loss(*arguments)
