"""Where everything is kept: rows in a database, and bytes in files or in an object store.

A store is a pair. Rows say what exists, and blobs hold the bytes. One or several rows name a blob. The rows account for
every blob: it is recorded as new before it is stored, is live while a row names it, dead when no row does any more, and
forgotten after it is deleted. So a crash leaves at most a blob that is new until its lease ends, or a dead one. It
never leaves a row without its bytes, or bytes that nothing accounts for. ``schema.py`` shows the states.
"""
