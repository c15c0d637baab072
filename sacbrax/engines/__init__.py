"""Physics of one mechanism over one environment step, built from an `MjModel`. An engine knows no task.

A new engine is one new file, or folder, here and one line in `config.named.ENGINES`.
"""
