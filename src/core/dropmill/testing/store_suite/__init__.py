"""What every queue engine must do, as tests: the promises of `dropmill.queue.store.QueueStore`, one by one.

    from dropmill.testing.store_suite import store_suite

    class TestMyStore(store_suite(open_my_store)):
        pass

`open_my_store(place, settings, clock=..., instance=...)` makes a store that is not open yet and keeps everything below the
folder `place`; a second one in the same place is the same store after a restart. The tests drive time by the clock and need no
pytest plugin.
"""

from __future__ import annotations

from dropmill.testing.store_suite.bench import Bench, StoreFactory
from dropmill.testing.store_suite.capacity import CapacityPromises
from dropmill.testing.store_suite.deliveries import DeliveryPromises
from dropmill.testing.store_suite.files import FilePromises
from dropmill.testing.store_suite.lives import LifePromises

__all__ = ["Bench", "StoreFactory", "store_suite"]


def store_suite(factory: StoreFactory) -> type:
    """A class of tests for the engine that the factory makes."""

    class StoreSuite(FilePromises, DeliveryPromises, CapacityPromises, LifePromises):
        pass

    StoreSuite.factory = staticmethod(factory)
    return StoreSuite
