"""Tiny Brax environments with answers known in advance; a configuration names them `probes:Class`."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from sacbrax.engines.upstream import Env, State


class Probe(Env):
    """Shows the time and a number drawn at each reset; subclasses say what a step pays and when it ends."""

    action_count = 1

    @property
    def backend(self) -> str:
        return "probe"

    @property
    def observation_size(self) -> int:
        return 2

    @property
    def action_size(self) -> int:
        return self.action_count

    def reset(self, rng: Any) -> State:
        obs = jnp.stack([jax.random.uniform(rng, minval=-1.0, maxval=1.0), jnp.zeros(())])
        return State(obs, obs, jnp.zeros(()), jnp.zeros(()))

    def step(self, state: State, action: Any) -> State:
        draw, time = state.pipeline_state
        reward, done = self.rule(draw, time, action)
        obs = jnp.stack([draw, time + 1.0])
        return state.replace(pipeline_state=obs, obs=obs, reward=reward, done=jnp.asarray(done, jnp.float32))

    def rule(self, draw: Any, time: Any, action: Any) -> tuple[Any, Any]:
        """reward [], done [] of the step taken at `time`."""
        raise NotImplementedError


class Cue(Probe):
    """Pays the time, ends at `terminate_at`; at `nan_at`, where the draw is below `nan_below`, `fault` is `value`."""

    action_count = 2

    def __init__(
        self,
        terminate_at: int = 0,
        nan_at: int = 0,
        nan_below: float = 2.0,
        fault: str = "obs",
        value: float = float("nan"),
    ):
        self.terminate_at, self.nan_at, self.nan_below, self.fault = terminate_at, nan_at, nan_below, fault
        self.value = float(value)  # YAML reads 1e20 as a text

    def rule(self, draw: Any, time: Any, action: Any) -> tuple[Any, Any]:
        return time, time + 1 == self.terminate_at

    def step(self, state: State, action: Any) -> State:
        new = super().step(state, action)
        faulty = (new.obs[1] == self.nan_at) & (new.obs[0] < self.nan_below)
        name = "pipeline_state" if self.fault == "physics" else self.fault
        value = getattr(new, name)
        return new.replace(**{name: jnp.where(faulty, self.value, value)})


class Various(Probe):
    """Pays the draw, half the time and the first action. After 1 to 5 steps, as the draw's second decimal says,
    draws below -0.2 terminate and draws up to 0.2 turn NaN; the others go on until the time limit."""

    action_count = 2

    def rule(self, draw: Any, time: Any, action: Any) -> tuple[Any, Any]:
        return draw + 0.5 * time + action[0], (draw < -0.2) & self._over(draw, time)

    def step(self, state: State, action: Any) -> State:
        new = super().step(state, action)
        draw, time = state.pipeline_state
        faulty = (jnp.abs(draw) <= 0.2) & self._over(draw, time)
        return new.replace(obs=jnp.where(faulty, jnp.nan, new.obs))

    def _over(self, draw: Any, time: Any) -> Any:
        return time + 1 == 1 + jnp.floor(jnp.abs(draw) * 100) % 5


class Draw(Probe):
    """One step that pays the draw."""

    def rule(self, draw: Any, time: Any, action: Any) -> tuple[Any, Any]:
        return draw, True


class Echo(Probe):
    """Pays the action it gets."""

    def rule(self, draw: Any, time: Any, action: Any) -> tuple[Any, Any]:
        return action[0], False


class Physics(struct.PyTreeNode):
    """A physics that carries model fields."""

    clock: Any
    fields: dict[str, Any]


class Weighed(Probe):
    """One step that pays the model field `weight`, nominally 0."""

    def reset(self, rng: Any) -> State:
        state = super().reset(rng)
        return state.replace(pipeline_state=Physics(state.pipeline_state, {}))

    def step(self, state: State, action: Any) -> State:
        physics: Any = state.pipeline_state
        reward = jnp.asarray(physics.fields.get("weight", 0.0))
        return state.replace(obs=state.obs + 1.0, reward=reward, done=jnp.ones(()))


def weights(key: Any) -> dict[str, Any]:
    """The model field of `Weighed`, from 1 to 2."""
    return {"weight": jax.random.uniform(key, minval=1.0, maxval=2.0)}


def weights_up_to(key: Any, curriculum: Any) -> dict[str, Any]:
    """The same from 0 to what a curriculum says."""
    return {"weight": jax.random.uniform(key, maxval=curriculum["most"])}


def heavier(metrics: Any) -> dict[str, Any]:
    """1 at the start; then twice as much after every evaluation."""
    return {"most": 2.0 * metrics["curriculum/most"] if metrics else 1.0}


class Mimic(Probe):
    """Shows the last action that its physics got, and pays the first coordinate."""

    action_count = 2

    def step(self, state: State, action: Any) -> State:
        return state.replace(pipeline_state=action, obs=action, reward=action[0], done=jnp.zeros(()))


class BraxCue(Cue):
    """Stands for one of Brax's tasks, which wrap Brax's own environment."""

    def __init__(self) -> None:
        super().__init__()
        self.env = Cue()


class Bandit(Probe):
    """One step, best action 0.5."""

    def rule(self, draw: Any, time: Any, action: Any) -> tuple[Any, Any]:
        return -((action[0] - 0.5) ** 2), True


class Mirror(Probe):
    """One step that pays the action times the sign of what is seen."""

    def rule(self, draw: Any, time: Any, action: Any) -> tuple[Any, Any]:
        return jnp.sign(draw) * action[0], True


class Constant(Probe):
    """Pays 1 for ever and shows nothing: the value is 1 / (1 - gamma)."""

    def step(self, state: State, action: Any) -> State:
        return state.replace(reward=jnp.ones(()), done=jnp.zeros(()))


class TwoStep(Probe):
    """Nothing, then 1, then the end."""

    def rule(self, draw: Any, time: Any, action: Any) -> tuple[Any, Any]:
        return jnp.where(time == 1.0, 1.0, 0.0), time == 1.0


class Two(Probe):
    """One step with two actions, best (0.5, -0.25)."""

    action_count = 2

    def rule(self, draw: Any, time: Any, action: Any) -> tuple[Any, Any]:
        return -((action[0] - 0.5) ** 2) - (action[1] + 0.25) ** 2, True


class Later(Probe):
    """A step that pays nothing, then one that pays `later(action)`, then the end."""

    def rule(self, draw: Any, time: Any, action: Any) -> tuple[Any, Any]:
        return jnp.where(time == 1.0, later(action[0]), 0.0), time == 1.0


def later(action: Any) -> Any:
    """Of NumPy and JAX alike."""
    return -2.0 * (action - 0.3) ** 2


class Once(Probe):
    """One step that pays `later(action)`."""

    def rule(self, draw: Any, time: Any, action: Any) -> tuple[Any, Any]:
        return later(action[0]), True


class Coin(Probe):
    """Pays 1 and ends at a quarter of the steps, at random; what it shows are random numbers too, new in every step."""

    def reset(self, rng: Any) -> State:
        return super().reset(rng).replace(pipeline_state=jax.random.key_data(rng))

    def step(self, state: State, action: Any) -> State:
        key, show, flip = jax.random.split(jax.random.wrap_key_data(state.pipeline_state), 3)
        return state.replace(
            pipeline_state=jax.random.key_data(key),
            obs=jax.random.uniform(show, (2,), minval=-1.0, maxval=1.0),
            reward=jnp.ones(()),
            done=jax.random.bernoulli(flip, 0.25).astype(jnp.float32),
        )


class Several(Probe):
    """Observes a dictionary: what `Probe` does, and for the critics the number three times."""

    hidden = "privileged_state"

    @property
    def observation_size(self) -> Any:
        return {self.hidden: (3,), "state": 2}

    def reset(self, rng: Any) -> State:
        return self._dictionary(super().reset(rng))

    def step(self, state: State, action: Any) -> State:
        return self._dictionary(super().step(state, action))

    def rule(self, draw: Any, time: Any, action: Any) -> tuple[Any, Any]:
        return action[0], time == 3.0

    def _dictionary(self, state: State) -> State:
        physics: Any = state.pipeline_state
        return state.replace(obs={"state": physics, self.hidden: jnp.full(3, physics[0])})


class Pixels(Several):
    """A dictionary that we do not cover."""

    hidden = "pixels"


def fluids(key: Any) -> dict[str, Any]:
    """Model fields of a swimmer: another fluid for every start."""
    density, viscosity = jax.random.split(key)
    return {
        "opt.density": jax.random.uniform(density, minval=2000.0, maxval=6000.0),
        "opt.viscosity": jax.random.uniform(viscosity, minval=0.05, maxval=0.2),
    }


class Broken(Probe):
    """Not what a Brax Env should be, in the one way that `how` says."""

    def __init__(self, how: str):
        self.how = how

    @property
    def observation_size(self) -> Any:
        return {"no observation": 0, "tuple of sizes": (2,), "other observation size": 3}.get(self.how, 2)

    @property
    def action_size(self) -> int:
        return 0 if self.how == "no action" else 1

    def reset(self, rng: Any) -> Any:
        state = super().reset(rng)
        changes = {"vector reward": {"reward": jnp.zeros(2)}, "whole reward": {"reward": jnp.zeros((), jnp.int32)}}
        return (state, {}) if self.how == "tuple from reset" else state.replace(**changes.get(self.how, {}))

    def step(self, state: State, action: Any) -> Any:
        new = super().step(state, action)
        if self.how == "tuple from step":
            return new.obs, new.reward, new.done, {}
        if self.how == "error":
            return new.replace(reward=new.reward + state.info["speed"])
        changes = {
            "bool done": {"done": new.done > 0},
            "vector reward in step": {"reward": new.obs},
            "new metric": {"metrics": {"speed": new.reward}},
            "new info": {"info": {"truncation": new.done}},
            "observation in step": {"obs": new.obs[:1]},
            "physics": {"pipeline_state": new.obs.astype(jnp.float16)},
        }
        return new.replace(**changes.get(self.how, {}))

    def rule(self, draw: Any, time: Any, action: Any) -> tuple[Any, Any]:
        return action[0], False
