"""Decisions. Pure: no clock, no randomness, no environment, no I/O. Imports `model` only."""
