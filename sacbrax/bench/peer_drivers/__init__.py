"""One script per peer, run by its own interpreter with one JSON argument; prints one JSON line. Versions beside it.

Only the standard library, the peer and `recorder` may be imported: the peer's environment has nothing of this package.
"""
