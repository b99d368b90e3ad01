"""What the server keeps: rows that describe (metadata), and blobs that hold the bytes."""
