"""Who may act: leadership, held by one node at a time."""
