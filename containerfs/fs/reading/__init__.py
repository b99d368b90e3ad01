"""Reading files of the service: the content cache, the downloads that fill it, and what is fetched ahead of a reader.

It knows files by what the service says of them (``RemoteFile``), and neither the names that a mount shows nor what was
written here.
"""
