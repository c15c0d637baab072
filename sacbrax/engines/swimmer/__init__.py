"""The equations of planar swimmers, written out: the mechanism read from a model, its dynamics, its joint limits."""
