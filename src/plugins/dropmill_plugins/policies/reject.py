"""`reject`: a full queue turns new work away; nothing that waits is ever touched, and whoever offers keeps what it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dropmill.api import Offer, PolicySpec, QueueView, Reject, hookimpl

__all__ = ["RejectPolicy", "register_queue_policies"]


class RejectPolicy:
    """Turns every offer away until there is room again."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """There are no options."""

    def on_full(self, offer: Offer, view: QueueView) -> Reject:
        """Say how full the queue is and how much was to come."""
        return Reject(
            f"the queue holds {view.items} of {view.max_items} items and {view.bytes} of {view.max_bytes} bytes; "
            f"{offer.items} items of {offer.bytes} bytes do not fit"
        )


@hookimpl
def register_queue_policies() -> Sequence[PolicySpec]:
    return [
        PolicySpec(
            id="reject",
            factory="dropmill_plugins.policies.reject:RejectPolicy",
            summary="turn new files away while the queue is full",
        )
    ]
