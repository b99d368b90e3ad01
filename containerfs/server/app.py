"""The application: routes, errors and observation around one service."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from containerfs.server.auth import Authenticator
from containerfs.server.errors import ServiceError
from containerfs.server.observation import Counts, Observed
from containerfs.server.routes import answers, bodies, containers, files, operations
from containerfs.server.service import Service
from containerfs.server.settings import Limits
from containerfs.server.storage.base import OutOfSpaceError

PREFIX = "/v1"


def create_app(service: Service, authenticator: Authenticator, limits: Limits, *, access_log: bool = False) -> ASGIApp:
    """The server as an ASGI application; whoever runs it closes the service's stores."""
    api = [_under_prefix(route) for route in (*containers.routes, *files.routes)]
    app = Starlette(
        routes=[*api, *operations.routes],
        exception_handlers={
            ServiceError: answers.service_error,
            OutOfSpaceError: answers.out_of_space,
            HTTPException: answers.http_error,
            bodies.ClientGone: _nothing,
            Exception: answers.internal_error,
        },
    )
    app.router.redirect_slashes = False
    app.state.service, app.state.authenticator, app.state.limits = service, authenticator, limits
    app.state.counts = Counts()
    templates = {route.endpoint: route.path for route in (*api, *operations.routes)}
    return Observed(app, app.state.counts, templates, access_log=access_log)


def _under_prefix(route: Route) -> Route:
    return Route(PREFIX + route.path, route.endpoint, methods=list(route.methods or ()))


def _nothing(request: Request, error: Exception) -> Response:
    """The client is gone: what is sent goes nowhere."""
    return Response(status_code=400)
