"""Coordination of several nodes through etcd: who leads, what the leader decided, what each node sees, and which side may
hold an address. Everything is a transaction; a vanished lease proves nothing about anybody but the leader.
"""
