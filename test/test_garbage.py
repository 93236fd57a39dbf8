"""
No garbage is collected while a large answer is decoded, and all is as before then.
"""

from __future__ import annotations

import gc
import weakref

from twisted.trial.unittest import SynchronousTestCase

from txetcd._garbage import garbage_left


class Ring:
    """Garbage, as soon as it is let go."""

    def __init__(self) -> None:
        self.ring = self


def young() -> int:
    """How many objects the next collection would look at."""
    return len(gc.get_objects(generation=0)) if hasattr(gc, "get_freeze_count") else 0


class GarbageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.addCleanup(gc.enable)

    def test_left(self) -> None:
        """It is left while it lasts, even if that ends in an error."""
        with garbage_left():
            self.assertFalse(gc.isenabled())
        self.assertTrue(gc.isenabled())
        with self.assertRaises(ValueError), garbage_left():
            raise ValueError
        self.assertTrue(gc.isenabled())

    def test_off_already(self) -> None:
        """Who collects garbage himself goes on doing so."""
        gc.disable()
        with garbage_left():
            self.assertFalse(gc.isenabled())
        self.assertFalse(gc.isenabled())

    def test_what_was_made_is_old(self) -> None:
        """Many objects do not have the next collection look at them."""
        with garbage_left():
            made = [[number] for number in range(50_000)]
        self.assertLess(young(), len(made))

    def test_what_was_young_is_collected(self) -> None:
        """What is garbage before does not grow old as well."""
        ring = weakref.ref(Ring())
        with garbage_left():
            self.assertIsNone(ring())

    def test_frozen(self) -> None:
        """What somebody has frozen remains so."""
        if not hasattr(gc, "get_freeze_count"):
            return
        gc.freeze()
        self.addCleanup(gc.unfreeze)
        frozen = gc.get_freeze_count()
        with garbage_left():
            pass
        self.assertGreater(gc.get_freeze_count(), frozen // 2)
