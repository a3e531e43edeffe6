"""The host agent: holds a group's addresses through a kernel gate that closes unaided, and stops what must stop with them.

`gate` and `address` are the two locks, `hold` the round that extends them.
"""
