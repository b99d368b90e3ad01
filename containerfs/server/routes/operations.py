"""Endpoints for operators and programmers: health, metrics, and the API's description."""

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from containerfs.server.metrics import Metrics
from containerfs.server.routes.asked import Endpoint, admitted, service
from containerfs.server.storage.records import PageQuery


async def health(request: Request) -> Response:
    """Answer 200 if the store responds."""
    await service(request).containers.page("", PageQuery(limit=1))
    return JSONResponse({"status": "ok"})


async def metrics(request: Request) -> Response:
    measured: Metrics = request.app.state.metrics
    text, media_type = await measured.exposition()
    return Response(text, media_type=media_type)


async def description(request: Request) -> Response:
    from containerfs.server.openapi import document  # slow to import, and rarely requested

    return JSONResponse(document())


async def documentation(request: Request) -> Response:
    from containerfs.server.documentation import page  # slow to import, and rarely requested

    return HTMLResponse(page())


routes: list[Endpoint] = [
    ("GET", "/healthz", health),
    ("GET", "/metrics", admitted(metrics)),
    ("GET", "/openapi.json", admitted(description)),
    ("GET", "/docs", admitted(documentation)),
]
