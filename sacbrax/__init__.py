"""Soft Actor-Critic in JAX: simulation, replay and learning in one compiled program."""

__version__ = "0.1.0"
