"""Parameters of a call: which of them are sent, and their form in queries and forms."""

from collections.abc import Iterator, Mapping

from containerfs.client.types import NotGiven, Omit


def given(parameters: Mapping[str, object]) -> dict[str, object]:
    """Return the parameters that were not left out."""
    return {name: value for name, value in parameters.items() if not isinstance(value, Omit | NotGiven)}


def flattened(parameters: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Convert parameters for queries and forms: ``a[b]=c`` for an object, ``a[]=b`` for a list. None is left out."""
    for name, value in parameters.items():
        yield from _flattened(name, value)


def _flattened(name: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        yield from flattened({f"{name}[{key}]": inner for key, inner in value.items()})
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _flattened(f"{name}[]", inner)
    elif isinstance(value, bool):
        yield name, str(value).lower()
    elif value is not None:
        yield name, str(value)
