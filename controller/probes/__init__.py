"""Probe kinds, one file each, and what several of them share (`answers`, `datagrams`, `parameters`, `sip_stream`)."""
