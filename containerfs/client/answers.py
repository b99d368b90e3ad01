"""How the service's answers are read.

Invariant: an answer that is not what the API promises is an APIResponseValidationError with one line of text, which
says what is wrong and quotes nothing of the answer.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from containerfs.api.errors import APIResponseValidationError

M = TypeVar("M", bound=BaseModel)

# A pair of surrogates, which is one character; half of one; any other escape.
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the service, read to its end. The headers' names are looked up in any case."""

    status_code: int
    headers: Mapping[str, str]
    body: bytes


def model(model: type[M]) -> Callable[[Answer], M]:
    """How to read an answer that is an object of the API."""

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
    """JSON with a replacement character for what is no character: one bad name is not to hide all others.

    Half of a surrogate pair, escaped, is JSON by its grammar, and no text. Source: RFC 8259, 8.2.
    """
    text = body.decode(errors="replace")
    return _ESCAPE.sub(lambda escape: "\\ufffd" if escape[1] else escape[0], text)


def _complaint(error: ValidationError) -> str:
    """The first thing that is wrong, without the answer's contents."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]


def deleted(answer: Answer) -> None:
    """Nothing is needed of the answer to a DELETE; but a page of HTML is not one, and nothing was deleted then."""
    if answer.body.strip():
        try:
            json.loads(answer.body)
        except (ValueError, RecursionError):
            raise _invalid("not JSON") from None


def _invalid(complaint: str) -> APIResponseValidationError:
    return APIResponseValidationError(f"the service's answer is not what the API promises: {complaint}")
