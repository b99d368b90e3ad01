"""The ASGI application: the routes, the answers to errors, and observation, around one service."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from containerfs.server.auth import Authenticator
from containerfs.server.downloads import Turns
from containerfs.server.errors import ServiceError
from containerfs.server.metrics import Metrics
from containerfs.server.observation import Observed
from containerfs.server.options import Limits
from containerfs.server.routes import answers, bodies, containers, files, operations
from containerfs.server.routes.asked import Answering, Endpoint, authenticated
from containerfs.server.service import Service
from containerfs.server.storage.failures import (
    BlobNotFoundError,
    OutOfSpaceError,
    QuotaExceededError,
    StoreUnavailableError,
)

PREFIX = "/v1"


def create_app(
    service: Service, authenticator: Authenticator, limits: Limits, metrics: Metrics, *, redirects: bool = False
) -> ASGIApp:
    """Build the server's ASGI application.

    Args:
        service: carries out the operations. The caller closes its stores.
        authenticator: identifies the sender of each request.
        limits: what one request may cost.
        metrics: serves ``/metrics``, and counts requests.
        redirects: whether downloads are answered with the address of the content, if the store can sign one.
    """
    api = [
        (method, PREFIX + path, authenticated(endpoint))
        for method, path, endpoint in (*containers.routes, *files.routes)
    ]
    routes = _routes([*api, *operations.routes])
    app = Starlette(
        routes=routes,
        exception_handlers={
            ServiceError: answers.service_error,
            OutOfSpaceError: answers.out_of_space,
            QuotaExceededError: answers.quota_exceeded,
            BlobNotFoundError: answers.blob_not_found,
            StoreUnavailableError: answers.store_unavailable,
            HTTPException: answers.http_error,
            bodies.ClientGone: _nothing,
            OSError: answers.system_error,
            Exception: answers.internal_error,
        },
    )
    app.router.redirect_slashes = False
    app.state.service, app.state.authenticator, app.state.limits = service, authenticator, limits
    app.state.metrics, app.state.turns, app.state.redirects = metrics, Turns(), redirects
    templates = {route.endpoint: route.path for route in routes}
    return Observed(app, metrics.counts, templates)


def create_metrics_app(metrics: Metrics) -> ASGIApp:
    """Build an application that serves the metrics and nothing else, without a key."""
    app = Starlette(routes=[Route("/metrics", operations.metrics)])
    app.state.metrics = metrics
    return app


def _routes(endpoints: list[Endpoint]) -> list[Route]:
    """Make one route for each path, so that a 405 lists all methods that the path has."""
    by_path: dict[str, dict[str, Answering]] = {}
    for method, path, endpoint in endpoints:
        by_path.setdefault(path, {})[method] = endpoint
    return [Route(path, _by_method(methods), methods=list(methods)) for path, methods in by_path.items()]


def _by_method(endpoints: dict[str, Answering]) -> Answering:
    async def endpoint(request: Request) -> ASGIApp:
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    return endpoint


async def _nothing(request: Request, error: Exception) -> Response:
    """Answer a client that has disconnected; nobody receives it."""
    return Response(status_code=400)
