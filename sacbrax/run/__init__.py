"""One run on the host: directory, loop, what is kept and what it goes on from. The host's only loop is `run.loop`."""
