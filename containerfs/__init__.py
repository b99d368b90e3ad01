"""containerfs: mounts containers as directories, with a typed client for their API, and a server that speaks it.

The client, its errors and its models are imported on first use, so that the command line need not load an HTTP library
to print its help.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_EXPORTING = ("containerfs.api.errors", "containerfs.api.models", "containerfs.client")
_IN_LOWER_CASE = ("omit", "not_given")

if TYPE_CHECKING:
    from containerfs.api.errors import *  # noqa: F403
    from containerfs.api.models import *  # noqa: F403
    from containerfs.client import *  # noqa: F403
else:

    def __getattr__(name: str) -> object:
        # Python asks here for submodules too, before it imports them; these are in lower case.
        if name[0].isupper() or name in _IN_LOWER_CASE:
            for module in map(import_module, _EXPORTING):
                if name in module.__all__:
                    return getattr(module, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(["__version__", *(name for module in map(import_module, _EXPORTING) for name in module.__all__)])
