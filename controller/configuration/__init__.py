"""YAML -> frozen settings and runbooks. Every error with its file, line and path, all at once."""
