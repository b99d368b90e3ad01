"""Reading files of the service: the content cache, the downloads that fill it, and fetching ahead of readers.

It knows files by what the service says about them (``RemoteFile``). It knows neither the names that a mount shows nor
what was written here.
"""
