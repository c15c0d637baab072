"""The learning of one agent, as pure functions of arrays: networks, losses, updates, policies.

Knows neither replay, environments nor files. Observations arrive normalized and transitions n-step.
"""
