"""Mechanisms that move in space, with contacts on a floor: a tree read from a model, its dynamics, its constraints.

docs/physics.md derives what is computed here.
"""
