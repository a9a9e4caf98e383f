"""`pause`: a full queue stops taking files in until it has drained; unclaimed files stay where they are. It loses nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dropmill.api import Offer, Pause, PolicySpec, QueueView, hookimpl

__all__ = ["PausePolicy", "register_queue_policies"]


class PausePolicy:
    """Takes nothing in until the queue holds no more than a share of its capacity."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._share: float | None = options.get("resume_below")

    def on_full(self, offer: Offer, view: QueueView) -> Pause:  # noqa: ARG002 - every offer waits alike
        """Pause; without the option the core's low-water mark says when to go on."""
        return Pause(None if self._share is None else int(self._share * view.max_items))


@hookimpl
def register_queue_policies() -> Sequence[PolicySpec]:
    return [
        PolicySpec(
            id="pause",
            factory="dropmill_plugins.policies.pause:PausePolicy",
            options_schema={
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "resume_below": {
                        "type": "number",
                        "minimum": 0,
                        "exclusiveMaximum": 1,
                        "description": "Share of queue.max_items at which intake goes on: 0.5 waits until the queue is half "
                        "empty, 0 until it is empty. Without it, queue.low_water decides.",
                    }
                },
            },
            summary="take nothing in while the queue is full, lose nothing",
        )
    ]
