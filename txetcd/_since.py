"""
Calls that old servers do not have.
"""

from __future__ import annotations

from typing import Callable

from twisted.python.failure import Failure

from .errors import Unimplemented


def since(version: str, where: str = "") -> Callable[[Failure], Failure]:
    """
    What says of a call that the server does not know which servers do: an errback.

    :param version: the first version of etcd that has it.
    :param where: if not everywhere, in words that follow.
    """

    def explain(failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, Unimplemented):
            error.message = f"needs etcd {version} or later{where}: {error.message}"
        return failure

    return explain
