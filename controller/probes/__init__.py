"""Probe kinds, one file each, and what several of them share (`mass`, `datagrams`, `answers`, `sip_line` ...)."""
