"""Reading files of the service: the content cache, the downloads that fill it, and fetching ahead of readers.

Files are known here by what the service says about them (``RemoteFile``), not by the names that a mount shows. What was
written here is unknown too.
"""
