"""Adapters that act on the world. One file, or one package, a kind."""
