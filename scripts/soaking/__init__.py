"""Long trials of what a mount promises: random histories, faults and kills, and a count of what went wrong."""
