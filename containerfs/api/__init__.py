"""The wire format: what the containers API transfers, without any I/O."""
