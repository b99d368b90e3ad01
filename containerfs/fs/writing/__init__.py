"""Writing: staged data, the journal, uploads and what is left of lost ones, deletions, renames."""
