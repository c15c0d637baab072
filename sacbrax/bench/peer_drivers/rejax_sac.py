"""Rejax's SAC on Brax's own swimmer (generalized backend, Euler), its train iterations in a compiled loop as its own
`train` has them. It moves the target network once per vector step, not once per update."""

from typing import Any

import jax
import jax.numpy as jnp
from recorder import Recorder
from rejax import get_algo


def main() -> None:
    """Train until the recorder is done."""
    recorder = Recorder()
    job = recorder.job
    algorithm = get_algo("sac").create(
        env="brax/swimmer",
        env_params={"backend": "generalized"},
        agent_kwargs={"hidden_layer_sizes": tuple(job["hidden"])},
        hidden_layer_sizes=tuple(job["hidden"]),
        num_envs=job["num_envs"],
        num_epochs=job["updates"],
        batch_size=job["batch_size"],
        buffer_size=job["capacity"],
        fill_buffer=job["exploration"],
        learning_rate=job["learning_rate"],
        gamma=job["gamma"],
        polyak=1 - job["tau"],
        skip_initial_evaluation=True,
    )

    def steps(count: int) -> Any:
        return jax.jit(
            lambda state: jax.lax.fori_loop(0, count, lambda _, s: algorithm.train_iteration(s), state),
            donate_argnums=0,
        )

    def episode(params: Any, key: Any) -> Any:
        """Return of one episode with the mean action; rejax itself evaluates samples only."""
        env, env_params = algorithm.env, algorithm.env_params

        def body(carry: Any, key: Any) -> Any:
            observation, state = carry
            mean = algorithm.actor.apply(params, observation[None], method="_action_dist").loc[0]
            observation, state, reward, _, _ = env.step_env(key, state, jnp.tanh(mean), env_params)
            return (observation, state), reward

        return jnp.sum(jax.lax.scan(body, env.reset(key, env_params), jax.random.split(key, 1000))[1])

    evaluate = jax.jit(jax.vmap(episode, in_axes=(None, 0)))
    state = jax.block_until_ready(jax.jit(algorithm.init_state)(jax.random.PRNGKey(job["seed"])))
    explore = job["exploration"] // job["num_envs"]
    state = jax.block_until_ready(steps(explore)(state))
    chunk = steps(recorder.vector_steps)
    while not recorder.done():
        state = jax.block_until_ready(chunk(state))
        env_steps = int(state.global_step)
        recorder.mark(env_steps, len(recorder.marks) * job["chunk"] + job["chunk"])
        if recorder.evaluation_due():
            keys = jax.random.split(jax.random.PRNGKey(len(recorder.marks)), job["episodes"])
            recorder.evaluate(lambda keys=keys, params=state.actor_ts.params: evaluate(params, keys).mean())
    recorder.finish()


if __name__ == "__main__":
    main()
