"""containerfs: mount containers as directories, a typed client for their API, and a server that speaks it."""

__version__ = "0.1.0"
