"""How many files a process of ours may have open: as many as the system lets it.

The usual soft limit of 1,024 is for programs that call select(2). A mount holds a descriptor for every open file and
every connection.
"""

import resource


def raise_limit() -> None:
    """Raise the soft limit to the hard one. Source: getrlimit(2), RLIMIT_NOFILE."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
