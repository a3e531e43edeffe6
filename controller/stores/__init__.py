"""Where facts are kept: the node's own journal, and the archive it ships to."""
