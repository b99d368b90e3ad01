"""The file system, free of FUSE: threads, no asyncio.

lookup      from a path to a node            tree, metadata       what the mount shows, and when it asks again
handles     what programs hold open          content, fetch       what was read, on disk; downloads
moves       renames                          journal, writeback   what was written, on disk; uploads
filesystem  one method for each operation    remote               what all this needs of a service
"""
