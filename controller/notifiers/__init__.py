"""Channels that hand a page to a person."""
