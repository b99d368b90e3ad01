"""Reads the service's answers.

Invariant: an answer that does not match the API is an APIResponseValidationError with one line of text, which says what
is wrong and quotes nothing of the answer.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from containerfs.api.errors import APIResponseValidationError

M = TypeVar("M", bound=BaseModel)

# A surrogate pair, which is one character; half of a pair; any other escape.
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer of the service. Its headers are looked up case-insensitively."""

    status_code: int
    headers: Mapping[str, str]
    body: bytes


def model(model: type[M]) -> Callable[[Answer], M]:
    """Return a function that reads an answer as an object of the API."""

    def parse(answer: Answer) -> M:
        try:
            return model.model_validate_json(answer.body)
        except ValidationError:
            text = _without_surrogates(answer.body)
        try:
            return model.model_validate_json(text)
        except ValidationError as error:
            raise _invalid(_complaint(error)) from None

    return parse


def _without_surrogates(body: bytes) -> str:
    """Replace half surrogate pairs in JSON by a replacement character, so that one bad name does not hide all others.

    Half of a surrogate pair, escaped, is JSON by its grammar, but not text. Source: RFC 8259, section 8.2.
    """
    text = body.decode(errors="replace")
    return _ESCAPE.sub(lambda escape: "\\ufffd" if escape[1] else escape[0], text)


def _complaint(error: ValidationError) -> str:
    """Describe the first problem without the contents of the answer."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]


def deleted(answer: Answer) -> None:
    """Read the answer to a DELETE. Nothing in it is needed, but a page of HTML means that nothing was deleted."""
    if answer.body.strip():
        try:
            json.loads(answer.body)
        except (ValueError, RecursionError):
            raise _invalid("not JSON") from None


def _invalid(complaint: str) -> APIResponseValidationError:
    return APIResponseValidationError(f"the service's answer is not what the API promises: {complaint}")
