"""Names: nodes and the tree of them, listings and when to ask for them, attributes, and special names."""
