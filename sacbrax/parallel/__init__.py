"""Many parts as one: shards of an agent, processes of a run, and the watch they keep over each other."""
