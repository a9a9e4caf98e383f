"""`oldest_first`: a full queue drops its oldest waiting deliveries to make room for new ones.

For destinations where the latest matters more than the whole. What is dropped becomes a dead letter with its payload; what is
being sent right now is never dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from dropmill.api import Evict, Offer, PolicySpec, QueueView, Reject, hookimpl

__all__ = ["OldestFirstPolicy", "register_queue_policies"]


class OldestFirstPolicy:
    """Evicts what the offer needs, and a margin, so that the next offers need not evict at once again."""

    stops_intake: ClassVar[bool] = False

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._margin: float = options.get("margin", 0.0)
        self._minimum_age: float = options.get("minimum_age", 0.0)

    def on_full(self, offer: Offer, view: QueueView) -> Evict | Reject:
        """Evict, unless the offer could not fit whatever went, or nothing is old enough."""
        if offer.items > view.max_items or offer.bytes > view.max_bytes:
            return Reject(
                f"{offer.items} items of {offer.bytes} bytes are more than the whole queue may hold "
                f"({view.max_items} items, {view.max_bytes} bytes)"
            )
        if view.oldest_age < self._minimum_age:
            return Reject(f"the oldest delivery waits for {view.oldest_age:.0f} s, less than minimum_age")
        items = _excess(view.items + offer.items, view.max_items, self._margin)
        size = _excess(view.bytes + offer.bytes, view.max_bytes, self._margin)
        if view.items + offer.items - view.evictable_items > view.max_items:
            return Reject(f"{view.items - view.evictable_items} deliveries are being sent and cannot be dropped")
        if view.bytes + offer.bytes - view.evictable_bytes > view.max_bytes:
            return Reject(f"{view.bytes - view.evictable_bytes} bytes are being sent and cannot be dropped")
        return Evict(min(items, view.evictable_items), min(size, view.evictable_bytes))


def _excess(wanted: int, limit: int, margin: float) -> int:
    """How much must go for `wanted` to fit below `limit`, with `margin` of the limit left free; 0 where it fits anyway."""
    return 0 if wanted <= limit else wanted - limit + int(margin * limit)


@hookimpl
def register_queue_policies() -> Sequence[PolicySpec]:
    return [
        PolicySpec(
            id="oldest_first",
            factory="dropmill_plugins.policies.oldest_first:OldestFirstPolicy",
            options_schema={
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "margin": {
                        "type": "number",
                        "minimum": 0,
                        "maximum": 0.5,
                        "default": 0.0,
                        "description": "Share of the queue's capacity that is dropped beyond what the new work needs, "
                        "so that the next file does not drop again at once.",
                    },
                    "minimum_age": {
                        "type": ["number", "string"],
                        "x-unit": "seconds",
                        "minimum": 0,
                        "default": 0,
                        "description": "While the oldest waiting delivery is younger than this, nothing is dropped and new "
                        "work is turned away instead, so that a burst cannot wash the queue out.",
                    },
                },
            },
            summary="drop the oldest waiting deliveries to make room (they become dead letters)",
        )
    ]
