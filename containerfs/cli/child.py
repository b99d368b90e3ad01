"""A child of ours: the same interpreter, running another ``containerfs``.

``python -m`` alone puts the working directory first in ``sys.path``, so that a ``token.py`` which happens to lie there
would run in place of Python's own. ``-P`` keeps it out. PYTHONPATH stays in force, because whoever set it chose it, and
the ``containerfs`` that starts the child has obeyed it too. Source: Python's command line, ``-P``.
"""

import sys


def command(*arguments: str) -> list[str]:
    """The command line that runs ``containerfs`` with these arguments."""
    return [sys.executable, "-P", "-m", "containerfs", *arguments]
