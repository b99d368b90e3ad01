"""What those who run the server, or write programs for it, ask it: is it well, what did it do, what can it do."""

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from containerfs.server.metrics import Metrics
from containerfs.server.routes.asked import Endpoint, admitted, service
from containerfs.server.storage.base import PageQuery


async def health(request: Request) -> Response:
    """Answers 200 when the store answers."""
    await service(request).containers.page("", PageQuery(limit=1))
    return JSONResponse({"status": "ok"})


async def metrics(request: Request) -> Response:
    measured: Metrics = request.app.state.metrics
    text, media_type = await measured.exposition()
    return Response(text, media_type=media_type)


async def description(request: Request) -> Response:
    from containerfs.server.openapi import document  # slow to import, and seldom asked for

    return JSONResponse(document())


async def documentation(request: Request) -> Response:
    from containerfs.server.documentation import page  # slow to import, and seldom asked for

    return HTMLResponse(page())


routes: list[Endpoint] = [
    ("GET", "/healthz", health),
    ("GET", "/metrics", admitted(metrics)),
    ("GET", "/openapi.json", admitted(description)),
    ("GET", "/docs", admitted(documentation)),
]
