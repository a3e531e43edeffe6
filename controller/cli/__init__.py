"""The command line. Thin: parses, calls the running controller over its control socket, prints."""
