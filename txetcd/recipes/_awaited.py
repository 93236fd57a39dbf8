"""
A Deferred that must be waited for, and knows whether it was.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Callable, NoReturn, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


class Awaited(Deferred[T]):
    """
    A Deferred whose result somebody must take. It has no truth of its own: ``if stm.get(key):`` would always hold.

    Twisted does not tell whether a result was taken. But there are three ways to take it: to await the Deferred, to add
    a callback, and to return it from a callback of another Deferred, which then leaves another result in its place.

    :param what: how it was made, for the error (``str``).
    :param canceller: as of ``Deferred``.

    :ivar what: as given.
    """

    def __init__(self, what: str, canceller: Callable[[Deferred[Any]], None]) -> None:
        super().__init__(canceller)
        self.what = what
        self._results = 0
        self._is_wanted = False

    @property
    def is_taken(self) -> bool:
        """Whether it has fired, and somebody has taken the result (``bool``)."""
        return self.called and (self._is_wanted or self._results > 1)

    @property
    def result(self) -> Any:
        """As of ``Deferred``, which has none before it was fired."""
        try:
            return self.__dict__["result"]
        except KeyError:
            raise AttributeError("result") from None

    @result.setter
    def result(self, result: Any) -> None:
        """Set when it is fired, and whenever somebody has made something else of that."""
        self._results += 1
        self.__dict__["result"] = result

    def addCallbacks(self, *arguments: Any, **options: Any) -> Any:
        """As of ``Deferred``."""
        self._is_wanted = True
        return super().addCallbacks(*arguments, **options)

    def addCallback(self, *arguments: Any, **options: Any) -> Any:
        """As of ``Deferred``, which does not always lead to the one above; nor do the next ones."""
        self._is_wanted = True
        return super().addCallback(*arguments, **options)

    def addErrback(self, *arguments: Any, **options: Any) -> Any:
        """As of ``Deferred``."""
        self._is_wanted = True
        return super().addErrback(*arguments, **options)

    def addBoth(self, *arguments: Any, **options: Any) -> Any:
        """As of ``Deferred``."""
        self._is_wanted = True
        return super().addBoth(*arguments, **options)

    def __iter__(self) -> Generator[Deferred[T], None, T]:
        """Waits for it."""
        self._is_wanted = True
        return super().__iter__()

    __await__ = __iter__

    def __bool__(self) -> NoReturn:
        """
        :raises TypeError: always.
        """
        raise TypeError(f"{self.what} is a Deferred, and not yet what it fires with: it lacks 'await', or 'yield'")
