"""How much the queue may hold, and what is said when it cannot: pure arithmetic, the same for every engine.

What counts is unfinished deliveries, by number and by bytes, and the disk's free space. Dead letters have a bound of their own.
The queue is *full* from the moment that an offer was turned away until it has drained to its low-water marks.
"""

from __future__ import annotations

from dataclasses import dataclass

from dropmill.config.settings import QueueSettings

__all__ = ["Capacity", "Marks"]


@dataclass(frozen=True, kw_only=True)
class Marks:
    """The limits and the marks below them."""

    max_items: int
    max_bytes: int
    high_items: int
    high_bytes: int
    low_items: int
    low_bytes: int
    max_dead: int
    max_claimed: int
    min_free_disk: int

    @classmethod
    def of(cls, settings: QueueSettings) -> Marks:
        high, low = settings.high_water, min(settings.low_water, settings.high_water)
        return cls(
            max_items=settings.max_items,
            max_bytes=settings.max_bytes,
            high_items=max(1, int(settings.max_items * high)),
            high_bytes=max(1, int(settings.max_bytes * high)),
            low_items=int(settings.max_items * low),
            low_bytes=int(settings.max_bytes * low),
            max_dead=settings.max_dead,
            max_claimed=settings.max_claimed,
            min_free_disk=settings.min_free_disk,
        )

    def shown(self) -> dict[str, int]:
        """For people, under the names of the API."""
        return {
            "maxItems": self.max_items,
            "maxBytes": self.max_bytes,
            "highItems": self.high_items,
            "lowItems": self.low_items,
            "maxDead": self.max_dead,
            "maxClaimed": self.max_claimed,
        }


class Capacity:
    """The marks, the free disk as last seen, and whether the queue is full."""

    def __init__(self, settings: QueueSettings) -> None:
        self.marks = Marks.of(settings)
        self.free_disk = 1 << 62
        self.ballast = True
        """Whether the reserve on disk is there; without it nothing new is taken."""
        self.full = False

    def fits_at_all(self, items: int, size: int) -> bool:
        """Whether an empty queue would hold it."""
        return items <= self.marks.max_items and size <= self.marks.max_bytes

    def lacks(self, held_items: int, held_bytes: int, dead: int, items: int, size: int) -> str:
        """Why an offer of `items` deliveries and `size` bytes does not fit now; empty: it does."""
        return self.room_lacks(held_items, held_bytes, items, size) or self.disk_lacks(size) or self.dead_lack(dead)

    def room_lacks(self, held_items: int, held_bytes: int, items: int, size: int) -> str:
        """Why the queue's own limits stand against an offer; empty: they do not."""
        marks = self.marks
        if held_items + items > marks.max_items:
            return f"{held_items} of {marks.max_items} items are waiting and {items} more do not fit"
        if held_bytes + size > marks.max_bytes:
            return f"{held_bytes} of {marks.max_bytes} bytes are waiting and {size} more do not fit"
        return ""

    def disk_lacks(self, size: int) -> str:
        """Why the disk does not take `size` bytes more; empty: it does."""
        if not self.ballast or self.free_disk - size < self.marks.min_free_disk:
            return (
                f"the disk is short of space: {self.free_disk} bytes are free, {self.marks.min_free_disk} are kept free"
            )
        return ""

    def dead_lack(self, dead: int) -> str:
        """Why dead letters stand against new offers; empty: they do not."""
        if dead >= self.marks.max_dead:
            return f"{dead} dead letters are kept, {self.marks.max_dead} are allowed"
        return ""

    def drained(self, held_items: int, held_bytes: int) -> bool:
        """Whether both counts are at or below their low-water marks."""
        return held_items <= self.marks.low_items and held_bytes <= self.marks.low_bytes
