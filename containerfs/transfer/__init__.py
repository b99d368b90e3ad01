"""Containers and their files without a mount: found by the names that a mount shows, and copied in and out.

catalog    what exists, and what a name or pattern means
plans      which files a copy consists of, and their names at the destination (pure)
links      symbolic links on this machine
transfers  one file: downloaded, uploaded, copied and verified
crew       many files at a time
"""
