"""The server: the containers API, self-hosted, and the store that a mount embeds."""
