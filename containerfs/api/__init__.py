"""The wire format: what the containers API says and means, without any I/O."""
