"""
What the JSON gateways of real etcd servers answered, word for word, for tests of the codecs.

The scenarios have the same names over all versions, so that a test can compare versions. See ``README.rst`` for how
the files were made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["VERSIONS", "Recording", "load"]

VERSIONS = ("3.4.23", "3.5.1", "3.5.35", "3.6.16", "3.7.3")
"""The versions of etcd of which there are recordings, oldest first."""


class Recording(NamedTuple):
    """
    One call and its answer.

    A plain tuple, and not attrs, so that the recorder needs the standard library alone.
    """

    name: str
    """The scenario, the same in every version."""
    path: str
    """The path of the URL, such as ``/v3/kv/put``."""
    request: Any
    """
    The JSON object that was sent; a list where the body had several messages, one a line; a ``str`` where it was not
    JSON; ``None`` where there was no body; ``{"note": ...}`` where it is too large to be kept.
    """
    status: int
    """The HTTP status."""
    content_type: str
    """The header of that name, or an empty string."""
    body: str
    """The answer exactly as it was received; of a stream, all lines until the scenario closed it or it ended."""
    method: str = "POST"
    """The HTTP method."""
    headers: dict[str, str] = {}
    """The request's headers that matter."""
    note: str = ""
    """What else there is to know."""

    def to_json(self) -> dict[str, Any]:
        """The JSON object of this recording: without the fields that have their defaults."""
        return {
            field: value
            for field, value in self._asdict().items()
            if field not in self._field_defaults or value != self._field_defaults[field]
        }


def load(version: str) -> list[Recording]:
    """
    All recordings of a version, in the order in which they were made.

    :param version: one of :data:`VERSIONS`.
    """
    text = Path(__file__).with_name(f"{version}.json").read_text(encoding="utf-8")
    return [Recording(**recording) for recording in json.loads(text)]
