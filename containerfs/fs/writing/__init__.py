"""Writing: staged data, the journal, uploads and what lost ones left behind, deletions, and renames."""
