"""How many files our processes may have open: as many as the system allows.

The usual soft limit of 1,024 is meant for programs that call select(2). A mount has a descriptor for every open file
and every connection.
"""

import resource


def raise_limit() -> None:
    """Raise the soft limit to the hard one. Source: getrlimit(2), RLIMIT_NOFILE."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
