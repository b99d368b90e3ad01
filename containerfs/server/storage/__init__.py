"""The server's store: rows with the metadata, and blobs with the bytes."""
