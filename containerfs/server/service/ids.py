"""New ids, which nobody can guess."""

import secrets


def container_id() -> str:
    return f"cntr_{secrets.token_hex(24)}"


def container_file_id() -> str:
    return f"cfile_{secrets.token_hex(16)}"


def file_id() -> str:
    return f"file-{secrets.token_hex(16)}"
