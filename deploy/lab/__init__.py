"""A call platform in network namespaces, to break on purpose: two edges, two sides, agents, echoes, callers.

`laboratory.Lab` builds it, `faults.inject` breaks it, `callers.Callers` measures what callers see of it,
`Lab.arrivals` what agents see, and `keepalived.KeepalivedPair` is the set-up to compare with. `deploy/lab/run` is the
command. Needs root and Debian's kamailio, sip-tester, iproute2, nftables and keepalived; takes no traffic off the machine.

It stands apart from the product on purpose: an instrument that shared its code would share its mistakes.
"""
