"""A page on this machine that shows runs while they grow: what it knows, how it is served, episodes on request."""
