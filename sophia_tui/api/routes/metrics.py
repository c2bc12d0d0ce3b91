"""`GET /metrics`: figures for Prometheus. Needs a token as every route does; a viewer's will do."""

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from sophia_tui.api import exposition
from sophia_tui.api.metrics import Metrics

PATH = "/metrics"


def router(metrics: Metrics) -> APIRouter:
    """The route."""
    routes = APIRouter()

    @routes.get(
        PATH,
        operation_id="metrics",
        summary="Figures for Prometheus.",
        tags=["metrics"],
        response_class=PlainTextResponse,
        responses={200: {"content": {"application/openmetrics-text": {"schema": {}}}}},
    )
    async def figures(request: Request) -> Response:
        wanted = "application/openmetrics-text" in request.headers.get("accept", "")
        text = exposition.render(await metrics.families(), open_metrics=wanted)
        kind = exposition.OPEN_METRICS if wanted else exposition.TEXT
        return Response(text, media_type=kind)

    return routes
