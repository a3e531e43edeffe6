"""Sans-I/O SIP: nothing below reads a clock, randomness or a socket; callers pass time and tokens in."""
