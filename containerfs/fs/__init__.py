"""The file system, free of FUSE: threads, no asyncio.

lookup      from a path to a node            tree, metadata       what the mount shows, and when it asks again
handles     what programs hold open          reading              what is read: cache and downloads
moves       renames                          journal, writeback   what was written, on disk; uploads
filesystem  one method for each operation    remote               what all this needs of a service
"""
