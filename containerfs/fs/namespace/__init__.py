"""Names: the tree of nodes, listings and when to request them, attributes, and special names."""
