"""The file system, without FUSE. It uses threads, not asyncio.

filesystem  one method for each operation    namespace  names
handles     what programs have open          reading    the cache and downloads
state       the state of a content           writing    what was written: on disk, and being uploaded
remote      what all this needs of a service
"""
