"""One trained policy for each task, loadable by its name, with the record of how it was made and what it reaches.

A policy is `policy_file/pretrained/NAME.npz`, its record NAME.json beside it. `training` makes both.
"""
