"""The tasks: observation, reward, termination and start of each. Of engines a task knows the protocol."""
