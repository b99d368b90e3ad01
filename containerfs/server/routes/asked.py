"""What all endpoints read from their requests."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.types import ASGIApp

from containerfs.server.auth import Authenticator
from containerfs.server.downloads import ContentResponse
from containerfs.server.errors import Forbidden, InvalidRequest, NotFound
from containerfs.server.requests import Listing
from containerfs.server.routes.bodies import parsed
from containerfs.server.service import Content, Service
from containerfs.server.storage.records import PageQuery

Answering = Callable[[Request], Awaitable[ASGIApp]]

_READING = ("GET", "HEAD")

Endpoint = tuple[str, str, Answering]
"""A method, the template of a path, and the function that answers there."""


def service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


def content_answer(request: Request, content: Content) -> ContentResponse:
    return ContentResponse(content, request.app.state.turns, redirects=request.app.state.redirects)


def namespace(request: Request) -> str:
    """Return the namespace that the request is for."""
    found: str = request.state.namespace
    return found


def authenticated(answer: Answering) -> Answering:
    """Wrap an endpoint so that nothing of a request is read before its sender is known.

    Raises:
        Unauthenticated: if the request has no valid key.
        Forbidden: if the key may only read, or the request may come from a web page.
    """

    async def endpoint(request: Request) -> ASGIApp:
        authenticator: Authenticator = request.app.state.authenticator
        identity = await authenticator.identify(request.headers)
        if request.method not in _READING and not identity.may_write:
            raise Forbidden("This API key may only read.", code="read_only_api_key")
        request.state.namespace = identity.namespace
        _check_characters(request)
        return await answer(request)

    return endpoint


def admitted(answer: Answering) -> Answering:
    """Wrap an endpoint about the server itself, so that it checks whether the sender may see it. Raises as
    ``authenticated``."""

    async def endpoint(request: Request) -> ASGIApp:
        authenticator: Authenticator = request.app.state.authenticator
        await authenticator.admit(request.headers)
        return await answer(request)

    return endpoint


def _check_characters(request: Request) -> None:
    """Refuse NUL, which no id or name contains, and which cannot be sent to PostgreSQL."""
    if "\0" in request.scope["path"]:
        raise NotFound("Invalid URL: it contains a NUL character.")
    for name, value in request.query_params.items():
        if "\0" in value:
            raise InvalidRequest(f"Invalid '{name}': it contains a NUL character.", param=name)


def page_query(request: Request, listing: type[Listing] = Listing) -> PageQuery:
    """Read the page that a listing's query asks for.

    Raises:
        InvalidRequest: if a parameter is out of range.
    """
    asked = parsed(listing, dict(request.query_params))
    return PageQuery(asked.limit, asked.order, asked.after)
