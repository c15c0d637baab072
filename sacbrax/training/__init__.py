"""The compiled loop: environments, replay and agent as one program. Knows no files and no host loop."""
