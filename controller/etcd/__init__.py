"""etcd v3, spoken through its HTTP/JSON gateway.

Why the gateway: the clients for Python that speak gRPC are no longer kept (etcd3) or wrap a C stack with threads of its
own whose stalls the loop can't see; the gateway is part of every server, takes plain JSON over a connection that aiohttp
keeps, and costs a transaction about a millisecond more.

Only linearizable reads: there is no way to ask for a stale one.
"""
