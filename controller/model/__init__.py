"""Frozen values. Imports the standard library and `immutables` only."""
