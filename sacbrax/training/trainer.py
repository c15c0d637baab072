"""The training program: the whole state in one dataclass, exploration as one scan, an epoch as one donated scan.

Functions here are pure and unjitted, so seeds, sweeps and devices (`programs`) are maps over them. Knows no files.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from sacbrax.agents.agent import Agent, AgentState
from sacbrax.agents.hyperparameters import Hyper
from sacbrax.agents.normalizer import Normalizer
from sacbrax.agents.registry import make_agent, make_hyper
from sacbrax.config import Config, ConfigError
from sacbrax.core.errors import one_line
from sacbrax.core.metrics import Kind, Sums
from sacbrax.core.types import Array, Key, Metrics, Params, Transition
from sacbrax.envs import for_training, from_config, vector_env
from sacbrax.envs.action_gain import ActionGain
from sacbrax.envs.vector_env import EnvState, VectorEnv
from sacbrax.parallel.shards import Shards
from sacbrax.training import prior, updates
from sacbrax.training import replay as replay_lib
from sacbrax.training.replay import ReplayState
from sacbrax.training.return_scale import ReturnScale
from sacbrax.training.side_by_side import SideBySide
from sacbrax.xla import random


class TrainState(struct.PyTreeNode):
    """The complete resume point of one agent."""

    agent: AgentState
    replay: ReplayState
    env: EnvState
    normalizer: Normalizer
    key: Key  # never changes: every random number is drawn from (key, iteration)
    iteration: Array  # int32 [], vector steps taken
    return_scale: ReturnScale | None = None  # with `algorithm.normalize_rewards`
    prior: ReplayState | None = None  # with `replay.prior`; never changes
    policy_average: Params | None = None  # with `policy.average_tau`

    @property
    def judged(self) -> AgentState:
        """The agent of evaluations and policy files: its policy is the average, if there is one."""
        if self.policy_average is None:
            return self.agent
        return self.agent.replace(params=self.agent.params | {"actor": self.policy_average})

    def begin_average(self) -> "TrainState":
        """The average, if there is one, begins anew with the policy of now."""
        if self.policy_average is None:
            return self
        # A copy in memory too: the state is donated, and two leaves may not share one buffer.
        return self.replace(policy_average=jax.tree.map(jnp.copy, self.agent.params["actor"]))


class Trainer:
    """A configuration bound to its environment and agent; holds no arrays that change.

    With several shards the functions below are those of one shard, to be mapped over the axes of `shards`: environments
    and replay are its own, everything else is the same on all of them.
    """

    def __init__(self, config: Config, shards: Shards = Shards()):
        self.config, self.shards = config, shards
        self.num_envs, self.batch_size = shards.share(config.env.num_envs), shards.share(config.train.batch_size)
        try:
            self.env = from_config(config.env)
            training_env, self.curriculum = for_training(self.env, config.env)
        except (ValueError, TypeError) as error:
            if config.env.imported and not isinstance(error, ConfigError):
                raise  # the user's own, with its traceback
            raise ConfigError(one_line(error, longest=None)) from error
        if config.policy.action_gain != 1.0:
            self.env, training_env = (ActionGain(env, config.policy.action_gain) for env in (self.env, training_env))
        self.observation_size, self.action_size = int(self.env.observation_size), int(self.env.action_size)
        self.actor_inputs: int | None = getattr(self.env, "actor_observation_size", None)
        self.agent: Agent = make_agent(config, self.observation_size, self.action_size, shards, self.actor_inputs)
        # Policies are kept, exported and run elsewhere in float32, so that is what evaluations are of.
        network = dataclasses.replace(config.network, dtype="float32", matmul_precision="highest")
        kept = dataclasses.replace(config, network=network)
        self.evaluated = make_agent(kept, self.observation_size, self.action_size, shards, self.actor_inputs)
        self.prior_rows: np.ndarray | None = None
        if config.replay.prior is not None:
            self.prior_rows = prior.load(config, self.observation_size, self.action_size)
            if self.batch_size % 2:
                raise ConfigError(
                    f"train.batch_size: must be even in each shard with replay.prior, got {self.batch_size}"
                )
        self._step = jax.jit(self.train_step, inline=True)  # traced once, for the loop and for the shape of its sums
        self.vector_env = VectorEnv(
            training_env,
            self.num_envs,
            config.env.episode_length,
            config.env.reset_pool,
            config.env.reward_clip,
            None if self.curriculum is None else self.curriculum.initial,
        )

    def hyper(self) -> Hyper:
        """The traced hyperparameters of the configuration."""
        return make_hyper(self.config, self.action_size)

    def init(self, key: Key, hyper: Hyper) -> TrainState:
        """A fresh agent with an empty replay."""
        agent_key, env_key, key = jax.random.split(key, 3)
        agent, averaged = self.agent.init(agent_key, hyper), self.config.policy.average_tau is not None
        return TrainState(
            agent=agent,
            replay=replay_lib.init(
                self.shards.share(self.config.replay.capacity),
                self.num_envs,
                self.observation_size,
                self.action_size,
                jnp.dtype(self.config.replay.dtype),
            ),
            env=self.vector_env.reset(self.shards.own(env_key)),
            normalizer=Normalizer.create(self.observation_size),
            key=key,
            iteration=jnp.zeros((), jnp.int32),
            return_scale=ReturnScale.create(self.num_envs) if self.config.algorithm.normalize_rewards else None,
            prior=self._empty_prior(),
            policy_average=agent.params["actor"] if averaged else None,
        ).begin_average()

    def _empty_prior(self) -> ReplayState | None:
        if self.prior_rows is None:
            return None
        dtype = jnp.dtype(self.config.replay.dtype)
        return prior.empty(self.prior_rows, self.shards, self.observation_size, self.action_size, dtype)

    def with_prior(self, state: TrainState) -> TrainState:
        """A fresh state, as `init` made it of all agents and shards, with the transitions of `replay.prior`."""
        if self.prior_rows is None:
            return state
        return prior.put(state, self.prior_rows, self.shards, jnp.dtype(self.config.replay.dtype))

    def prefill(self, state: TrainState, hyper: Hyper) -> TrainState:
        """Exploration: uniform actions for exactly `train.exploration_env_steps` env steps; one scan, no learning.

        Where the count is no multiple of the environments, the rest of the last vector step is the policy's.
        """
        num_envs, total = self.config.env.num_envs, self.config.train.exploration_env_steps
        place = self.shards.index() * self.num_envs + jnp.arange(self.num_envs)  # of these among all environments

        def body(state: TrainState, _: None) -> tuple[TrainState, None]:
            explore_key, act_key, env_key = random.split(self._step_key(state), 3)
            action = random.uniform(explore_key, (self.num_envs, self.action_size), -1.0, 1.0)
            if total % num_envs:
                steps_left = total - state.iteration * num_envs
                own = self.agent.act(state.agent, self._normalize(state, state.env.state.obs), act_key)
                action = jnp.where((place < steps_left)[:, None], action, own)
            return self._collect(state, action, env_key, hyper)[0], None

        return jax.lax.scan(body, state, None, self.config.exploration_iterations)[0]

    def advance(self, state: TrainState, sums: Sums, hyper: Hyper, rounds: int | Array) -> tuple[TrainState, Sums]:
        """`rounds` times `Config.iterations_per_round` train steps, whose metrics are added to `sums` one by one.

        One loop of traced length: however the host cuts an epoch into calls, to listen for signals and to save, the
        program and its bits are the same.
        """

        interval = self.config.iterations_per_round

        def body(i: Array, carry: tuple[TrainState, SideBySide]) -> tuple[TrainState, SideBySide]:
            state, added = carry
            state, metrics = self._step(state, hyper, **self._due(i))
            return state, jax.tree.map(jnp.add, added, SideBySide.of(metrics))

        steps = rounds if interval == 1 else rounds * interval
        state, added = jax.lax.fori_loop(0, steps, body, (state, SideBySide.of(sums)))
        return state, added.apart()

    def refresh(self, state: TrainState) -> TrainState:
        """The same with a pool of new starts, for a task that has one."""
        # Further than what a vector step draws from the same numbers.
        key = random.split(self._step_key(state), 8)[7]
        return state.replace(env=self.vector_env.refreshed(state.env, key))

    def zero_sums(self, state: TrainState) -> Sums:
        """Sums at the start of an epoch; of the state only the shape counts."""
        _, metrics = jax.eval_shape(self._step, state, self.hyper(), **self._due(jnp.zeros((), jnp.int32)))
        return jax.tree.map(lambda metric: jnp.zeros(metric.shape, metric.dtype), metrics)

    def _due(self, i: Array) -> dict[str, Array]:
        """What train step i of a call has that not every one has. By the loop's own count, which all seeds share: what
        differed between them would be computed for all."""
        interval, whole = self.config.train.update_interval, self.config.iterations_per_round
        due = {} if interval == 1 else {"due": (i + 1) % interval == 0}
        return due if whole == interval else due | {"policy_due": (i + 1) % whole == 0}

    def train_step(
        self, state: TrainState, hyper: Hyper, due: Array | None = None, policy_due: Array | None = None
    ) -> tuple[TrainState, Sums]:
        """One step of every environment, then `train.updates_per_step` gradient steps if they are `due`, bool [], the
        policy's part among them if that is."""
        act_key, env_key, sample_key, update_key = random.split(self._step_key(state), 4)

        # Act: the policy explores by its own randomness.
        observation = self._normalize(state, state.env.state.obs)
        action = self._explore(state, observation, act_key)

        # Step every environment, and remember what happened.
        state, env_sums = self._collect(state, action, env_key, hyper)

        # Learn: one gradient step after another, each from a minibatch of its own.
        def learn(agent: AgentState) -> tuple[AgentState, Sums]:
            count, delay = self.config.train.updates_per_step, self.config.algorithm.policy_delay
            keys = random.split(update_key, count)
            if count == delay == 1:
                batch = self._sample(state, sample_key, self.batch_size, hyper)
                return self.agent.update(agent, batch, hyper, keys[0])
            own = self._minibatches(state, sample_key, hyper), keys
            if delay == 1:
                return updates.alike(self.agent, agent, own, hyper)
            return updates.in_groups(self.agent, agent, own, hyper, min(count, delay), policy_due)

        if due is None:
            agent, update_sums = learn(state.agent)
        else:  # a loop of one pass or none
            none = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(learn, state.agent)[1])
            times = due.astype(jnp.int32)
            agent, update_sums = jax.lax.fori_loop(0, times, lambda _, carry: learn(carry[0]), (state.agent, none))
        state = state.replace(agent=agent)
        if (tau := hyper["average_tau"]) is not None:
            average = jax.tree.map(lambda a, p: a + tau * (p - a), state.policy_average, agent.params["actor"])
            state = state.replace(policy_average=average)
        return state, env_sums | update_sums

    def evaluate(self, state: TrainState, key: Key) -> dict[str, Array]:
        """Evaluation episodes on environments of their own: `return` and `length`, [episodes] each."""
        config = self.config.eval

        def policy(observation: Array, key: Key) -> Array:
            observation = self._normalize(state, observation)
            if config.deterministic:
                return self.evaluated.act_deterministic(state.judged, observation)
            return self.evaluated.act(state.judged, observation, key)

        key = self.shards.own(jax.random.fold_in(key, state.iteration))
        episodes = self.shards.share(config.episodes)
        env, numbers = self.env, None  # the task's own
        if config.randomize:
            env, numbers = self.vector_env.env, state.env.curriculum
        length = self.config.env.episode_length
        return self.shards.gather(vector_env.evaluate(env, policy, key, episodes, length, numbers))

    def diagnose(self, state: TrainState, hyper: Hyper, key: Key) -> Metrics:
        """The agent's diagnostics on a fresh minibatch; nothing moves."""
        sample_key, key = jax.random.split(jax.random.fold_in(key, state.iteration))
        batch = self.shards.gather(self._sample(state, self.shards.own(sample_key), self.batch_size, hyper))
        return self.agent.diagnostics(state.agent, batch, hyper, key)

    def _step_key(self, state: TrainState) -> Key:
        """The randomness of this shard in this vector step."""
        return self.shards.own(random.fold_in(state.key, state.iteration))

    def _explore(self, state: TrainState, observation: Array, key: Key) -> Array:
        """Actions [N, A] of the policy's own randomness, or of a block's of `policy.noise_repeat` vector steps, with
        noise of each environment's own deviation."""
        config = self.config.policy
        if config.noise_repeat > 1 or config.noise_max > 0:
            block = random.fold_in(state.key, state.iteration // config.noise_repeat)
            # Further than those of a vector step: what that one draws may be the same numbers.
            *_, act_key, noise_key = random.split(self.shards.own(block), 6)
            key = act_key if config.noise_repeat > 1 else key
        action = self.agent.act(state.agent, observation, key)
        if config.noise_max == 0:
            return action
        place = self.shards.index() * self.num_envs + jnp.arange(self.num_envs)
        share = place / max(1, self.config.env.num_envs - 1)
        deviation = config.noise_min + share * (config.noise_max - config.noise_min)
        action = action + deviation[:, None] * random.normal(noise_key, action.shape)
        return jnp.clip(action, -1.0, 1.0) if config.squash else action

    def _collect(self, state: TrainState, action: Array, key: Key, hyper: Hyper) -> tuple[TrainState, Sums]:
        """One step of every environment, whose observations and transitions are taken in; actions [N, A]."""
        env, step = self.vector_env.step(state.env, action, key)
        seen, reward = step.transition.observation, step.transition.reward
        normalizer, bounded = state.normalizer.update(
            seen, reward, step.valid, hyper["reward_centering"], self.shards.total
        )
        replay = replay_lib.insert(state.replay, step.transition, step.first, step.valid)
        if (scale := state.return_scale) is not None:
            offset = self._reward_offset(state)
            state = state.replace(return_scale=scale.update(step, hyper["gamma"], offset, self.shards.total))
        state = state.replace(env=env, replay=replay, normalizer=normalizer, iteration=state.iteration + 1)
        return state, self.shards.total(step.metrics) | Sums.of(Kind.COUNT, {"bounded": bounded})

    def _minibatches(self, state: TrainState, key: Key, hyper: Hyper) -> Transition:
        """Of all updates of a vector step, [updates, B, ...]: one gather serves them all."""
        count, batch_size = self.config.train.updates_per_step, self.batch_size
        batch = self._sample(state, key, count * batch_size, hyper)
        return jax.tree.map(lambda x: x.reshape(count, batch_size, *x.shape[1:]), batch)

    def _sample(self, state: TrainState, key: Key, batch_size: int, hyper: Hyper) -> Transition:
        """n-step transitions [B], normalized by the statistics of now and with the mean reward taken off."""
        offset, n_step = self._reward_offset(state), self.config.algorithm.n_step

        def drawn(replay: ReplayState, key: Key, size: int) -> Transition:
            return replay_lib.sample(replay, key, size, n_step, hyper["gamma"], offset)

        if state.prior is None:
            batch = drawn(state.replay, key, batch_size)
        else:  # by turns, so that each minibatch has half of each
            own_key, prior_key = random.split(key)
            halves = drawn(state.replay, own_key, batch_size // 2), drawn(state.prior, prior_key, batch_size // 2)
            batch = jax.tree.map(lambda *x: jnp.stack(x, axis=1).reshape(batch_size, *x[0].shape[1:]), *halves)
        if state.return_scale is not None:
            batch = batch.replace(reward=batch.reward * state.return_scale.factor)
        return batch.replace(
            observation=self._normalize(state, batch.observation),
            next_observation=self._normalize(state, batch.next_observation),
        )

    def _reward_offset(self, state: TrainState) -> Array:
        """What is taken off every reward, []."""
        return state.normalizer.reward_mean if self.config.algorithm.reward_centering > 0 else jnp.zeros(())

    def _normalize(self, state: TrainState, observation: Array) -> Array:
        return state.normalizer(observation) if self.config.network.normalize_observations else observation
