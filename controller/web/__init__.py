"""The HTTP side: a JSON API, server-sent events, metrics and the console. Reads snapshots, submits operator events."""
