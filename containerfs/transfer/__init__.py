"""Containers and their files without a mount: found by the names that a mount shows, and copied in and out.

catalog    what there is, and what a name or a pattern means
plans      which files a copy consists of, and what they are called at the other end (pure)
links      symbolic links of this machine
transfers  one file: downloaded, uploaded, copied, and checked
crew       many of them at a time
"""
