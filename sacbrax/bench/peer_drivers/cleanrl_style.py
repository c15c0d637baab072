"""A single-file SAC in PyTorch in CleanRL's manner (theirs is a script to copy, not a package) on Gymnasium's
Swimmer-v5: squashed Gaussian with log sigma by tanh in [-5, 2], actor and temperature every second update and twice
then, automatic entropy. Ours adds several environments and several updates per vector step."""

import itertools
from typing import Any

import gymnasium
import numpy as np
import torch
from recorder import Recorder
from torch import nn
from torch.nn import functional

TASK = "Swimmer-v5"
LOG_SIGMA = (-5.0, 2.0)
POLICY_FREQUENCY = 2


def mlp(inputs: int, hidden: list[int], outputs: int) -> nn.Sequential:
    """Dense layers with relu between them."""
    widths, layers = [inputs, *hidden], []
    for m, n in itertools.pairwise(widths):
        layers += [nn.Linear(m, n), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))


class Critic(nn.Module):
    """Q(s, a) [B]."""

    def __init__(self, observation: int, action: int, hidden: list[int]) -> None:
        super().__init__()
        self.net = mlp(observation + action, hidden, 1)

    def forward(self, observation: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return self.net(torch.cat([observation, action], 1))[:, 0]


class Actor(nn.Module):
    """Squashed Gaussian."""

    def __init__(self, observation: int, action: int, hidden: list[int]) -> None:
        super().__init__()
        self.net = mlp(observation, hidden, 2 * action)

    def sample(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Squashed action and its log density."""
        mean, log_sigma = self.net(observation).chunk(2, 1)
        low, high = LOG_SIGMA
        normal = torch.distributions.Normal(mean, (low + (high - low) * (torch.tanh(log_sigma) + 1) / 2).exp())
        pre_tanh = normal.rsample()
        action = torch.tanh(pre_tanh)
        log_prob = normal.log_prob(pre_tanh) - torch.log(1 - action**2 + 1e-6)
        return action, log_prob.sum(1)

    def mode(self, observation: np.ndarray) -> np.ndarray:
        """The deterministic action."""
        with torch.no_grad():
            mean, _ = self.net(torch.as_tensor(observation, dtype=torch.float32)).chunk(2, 1)
        return torch.tanh(mean).numpy()


class Replay:
    """Ring of rows in NumPy."""

    def __init__(self, capacity: int, observation: int, action: int) -> None:
        sizes = (observation, action, 1, 1, observation)
        self.rows = [np.zeros((capacity, size), np.float32) for size in sizes]
        self.capacity, self.at, self.size = capacity, 0, 0

    def add(self, *values: np.ndarray) -> None:
        """Append one row per environment: observation, action, reward, terminated, next observation."""
        n = len(values[0])
        index = (self.at + np.arange(n)) % self.capacity
        for rows, value in zip(self.rows, values, strict=True):
            rows[index] = value.reshape(n, -1)
        self.at, self.size = (self.at + n) % self.capacity, min(self.capacity, self.size + n)

    def sample(self, n: int, rng: np.random.Generator) -> list[torch.Tensor]:
        """`n` rows drawn uniformly."""
        index = rng.integers(self.size, size=n)
        return [torch.from_numpy(rows[index]) for rows in self.rows]


def evaluate(actor: Actor, episodes: int, seed: int) -> float:
    """Mean return of whole deterministic episodes side by side."""
    envs = [gymnasium.make(TASK) for _ in range(episodes)]
    observations = np.stack([env.reset(seed=seed + i)[0] for i, env in enumerate(envs)])
    total, over = 0.0, False
    while not over:  # every episode ends with the time limit
        for i, action in enumerate(actor.mode(observations)):
            observations[i], reward, terminated, truncated, _ = envs[i].step(action)
            total, over = total + float(reward), terminated or truncated
    return total / episodes


def main() -> None:
    """Train until the recorder is done."""
    recorder = Recorder()
    job: dict[str, Any] = recorder.job
    torch.manual_seed(job["seed"])
    rng, n, gamma = np.random.default_rng(job["seed"]), job["num_envs"], job["gamma"]
    envs: Any = gymnasium.make_vec(
        TASK,
        num_envs=n,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP},
    )
    observation, _ = envs.reset(seed=job["seed"])
    sizes = observation.shape[1], envs.action_space.shape[1]
    actor = Actor(*sizes, job["hidden"])
    critics = [Critic(*sizes, job["hidden"]) for _ in range(2)]
    targets = [Critic(*sizes, job["hidden"]) for _ in range(2)]
    for critic, target in zip(critics, targets, strict=True):
        target.load_state_dict(critic.state_dict())
    critic_parameters = [p for critic in critics for p in critic.parameters()]
    target_parameters = [p for target in targets for p in target.parameters()]
    log_alpha = torch.zeros(1, requires_grad=True)
    q_optimizer, actor_optimizer, alpha_optimizer = (
        torch.optim.Adam(parameters, lr=job["learning_rate"])
        for parameters in (critic_parameters, list(actor.parameters()), [log_alpha])
    )
    replay = Replay(job["capacity"], *sizes)

    def update(count: int) -> None:
        observation, action, reward, terminated, following = replay.sample(job["batch_size"], rng)
        alpha = log_alpha.exp().item()
        with torch.no_grad():
            next_action, next_log_prob = actor.sample(following)
            value = torch.min(*(target(following, next_action) for target in targets)) - alpha * next_log_prob
            goal = reward[:, 0] + (1 - terminated[:, 0]) * gamma * value
        loss = sum(functional.mse_loss(critic(observation, action), goal) for critic in critics)
        q_optimizer.zero_grad()
        loss.backward()
        q_optimizer.step()
        if count % POLICY_FREQUENCY == 0:
            for _ in range(POLICY_FREQUENCY):  # in place of those left out
                action, log_prob = actor.sample(observation)
                quality = torch.min(*(critic(observation, action) for critic in critics))
                loss = (log_alpha.exp().item() * log_prob - quality).mean()
                actor_optimizer.zero_grad()
                loss.backward()
                actor_optimizer.step()
                with torch.no_grad():
                    _, log_prob = actor.sample(observation)
                loss = (-log_alpha.exp() * (log_prob - sizes[1])).mean()
                alpha_optimizer.zero_grad()
                loss.backward()
                alpha_optimizer.step()
        with torch.no_grad():
            for parameter, target in zip(critic_parameters, target_parameters, strict=True):
                target.lerp_(parameter, job["tau"])

    env_steps, updates = 0, 0
    while not recorder.done():
        if env_steps < job["exploration"]:
            action = rng.uniform(-1, 1, (n, sizes[1])).astype(np.float32)
        else:
            with torch.no_grad():
                action = actor.sample(torch.as_tensor(observation, dtype=torch.float32))[0].numpy()
        following, reward, terminated, truncated, info = envs.step(action)
        last = following.copy()
        for i in np.flatnonzero(terminated | truncated):
            last[i] = info["final_obs"][i]
        replay.add(observation, action, reward, terminated, last)
        observation, env_steps = following, env_steps + n
        if env_steps <= job["exploration"]:
            continue
        for _ in range(job["updates"]):
            update(updates)
            updates += 1
        if updates % job["chunk"] == 0:
            recorder.mark(env_steps, updates)
            if recorder.evaluation_due():
                recorder.evaluate(lambda: evaluate(actor, job["episodes"], len(recorder.marks)))
    recorder.finish()


if __name__ == "__main__":
    main()
