"""What those who run the server ask it: whether it is well, and what it did."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from containerfs.server.observation import Counts
from containerfs.server.storage.base import PageQuery

_ONE = PageQuery(limit=1)


async def health(request: Request) -> Response:
    """Answers 200 when the store answers."""
    await request.app.state.service.containers("", _ONE)
    return JSONResponse({"status": "ok"})


async def metrics(request: Request) -> Response:
    counts: Counts = request.app.state.counts
    text, media_type = counts.exposition()
    return Response(text, media_type=media_type)


routes = [
    Route("/healthz", health, methods=["GET"]),
    Route("/metrics", metrics, methods=["GET"]),
]
