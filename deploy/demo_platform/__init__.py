"""The demo's call platform: an edge, two platform sides, agents, an echo service and callers, on plain loopback.

Separate processes that speak real SIP and RTP over UDP, without root and without any server installed. Every fault can
be switched in while calls run: a side killed (SIGKILL), hung (SIGSTOP), a zombie (OPTIONS 200, INVITE 503), one-way audio.
"""
