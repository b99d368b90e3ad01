"""Names: nodes and the tree of them, listings and when to ask for them, attributes, what names mean."""
