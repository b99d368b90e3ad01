"""The file system, free of FUSE: threads, no asyncio.

filesystem  one method for each operation    namespace  what things are called
handles     what programs hold open          reading    what is read: cache and downloads
state       what is true of a content        writing    what was written: on disk, and on its way
remote      what all this needs of a service
"""
