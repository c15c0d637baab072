"""A tree of arrays on the disk, whole or not at all, and read back with suspicion. Knows no training."""
