"""The routes that only look: status, lists, one thing's history, explanations, health.

None of them changes anything, and all of them may be asked during a stop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dropmill.control import shapes, views
from dropmill.control.actions import InThread
from dropmill.control.agent_view import AgentView
from dropmill.control.filters import (
    DELIVERY_PARAMETERS,
    FILE_PARAMETERS,
    PAGE_PARAMETERS,
    delivery_query,
    file_query,
)
from dropmill.control.queries import Queries
from dropmill.control.routes import Answer, Call, Parameter, Route
from dropmill.control.schemas import reference

__all__ = ["routes"]


def routes(agent: AgentView, queries: Queries, in_thread: InThread) -> Sequence[Route]:
    """Every route that only looks."""

    async def status(_call: Call) -> Answer:
        return Answer(views.status(await in_thread(queries.status), agent))

    async def files(call: Call) -> Answer:
        wanted = file_query(call.values)
        return Answer(await in_thread(queries.files, wanted, call.values["after"], call.values["limit"]))

    async def file(call: Call) -> Answer:
        return Answer(await in_thread(queries.file, call.values["id"]))

    async def deliveries(call: Call) -> Answer:
        wanted = delivery_query(call.values)
        return Answer(await in_thread(queries.deliveries, wanted, call.values["after"], call.values["limit"]))

    async def delivery(call: Call) -> Answer:
        return Answer(await in_thread(queries.delivery, call.values["id"]))

    async def explain(call: Call) -> Answer:
        path = call.values["path"]
        sightings = await agent.explain(Path(path))
        return Answer(await in_thread(queries.explain, path, sightings))

    async def folders(_call: Call) -> Answer:
        return Answer({"items": [views.folder(one) for one in agent.folders()]})

    async def destinations(_call: Call) -> Answer:
        return Answer({"items": [views.destination(one) for one in agent.lanes()]})

    async def tasks(_call: Call) -> Answer:
        return Answer({"items": [views.task(one) for one in agent.supervision()["children"]]})

    async def plugins(_call: Call) -> Answer:
        return Answer({"items": [views.plugin(one) for one in agent.plugins()]})

    async def config(_call: Call) -> Answer:
        return Answer(agent.settings_shown())

    async def live(_call: Call) -> Answer:
        return Answer({"live": True})

    async def ready(call: Call) -> Answer:
        checks = await agent.checks()
        good = all(check.ok for check in checks)
        body: dict[str, Any] = {"ready": good, "checks": []}
        if call.values["verbose"] or not good:
            body["checks"] = [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in checks]
        return Answer(body, 200 if good else 503)

    def get(
        path: str,
        name: str,
        summary: str,
        handler: Callable[[Call], Any],
        answer: type,
        *parameters: Parameter,
        **more: Any,
    ) -> Route:
        return Route(
            method="GET",
            path=path,
            name=name,
            summary=summary,
            handler=handler,
            answer=reference(answer),
            parameters=parameters,
            **more,
        )

    a_file = Parameter(name="id", summary="the file's id")
    a_delivery = Parameter(name="id", kind="integer", least=0, summary="the delivery's id")
    a_path = Parameter(name="path", kind="path", required=True, summary="absolute path of the file, or its id")
    verbose = Parameter(name="verbose", kind="flag", default=False, summary="list the checks that passed, too")
    not_ready = {503: "not ready; `checks` says why"}
    return (
        get("/v1/status", "status", "Everything at a glance.", status, shapes.StatusShape),
        get(
            "/v1/files",
            "files",
            "Files, newest first.",
            files,
            shapes.FilePage,
            *FILE_PARAMETERS,
            *PAGE_PARAMETERS,
        ),
        get(
            "/v1/files/{id}",
            "file",
            "One file with its events, reports and deliveries.",
            file,
            shapes.FileDetailShape,
            in_path=(a_file,),
        ),
        get(
            "/v1/deliveries",
            "deliveries",
            "Deliveries, newest first.",
            deliveries,
            shapes.DeliveryPage,
            *DELIVERY_PARAMETERS,
            *PAGE_PARAMETERS,
        ),
        get(
            "/v1/deliveries/{id}",
            "delivery",
            "One delivery with its attempts and what was answered.",
            delivery,
            shapes.DeliveryDetailShape,
            in_path=(a_delivery,),
        ),
        get(
            "/v1/explain",
            "explain",
            "Where a file is, what happened to it, when and why; also of files that were not taken.",
            explain,
            shapes.ExplanationShape,
            a_path,
        ),
        get("/v1/folders", "folders", "The watched folders.", folders, shapes.FoldersShape),
        get("/v1/destinations", "destinations", "The destinations.", destinations, shapes.DestinationsShape),
        get("/v1/tasks", "tasks", "Every supervised part of the agent.", tasks, shapes.TasksShape),
        get("/v1/plugins", "plugins", "The plugins.", plugins, shapes.PluginsShape),
        get("/v1/config", "config", "The configuration in force, secrets redacted.", config, shapes.ConfigShape),
        get("/livez", "live", "The event loop turns.", live, shapes.LiveShape),
        get(
            "/readyz",
            "ready",
            "Store, disk, watchers and workers; a destination that is down is no lack of readiness.",
            ready,
            shapes.ReadyShape,
            verbose,
            statuses=not_ready,
            own_shape=(503,),
        ),
    )
