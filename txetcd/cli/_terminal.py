"""
What the reader of the terminal sees: plain text, with colours only where they can be seen and are wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

import attrs

BOLD, CYAN, GREEN = 1, 36, 32


def is_coloured(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether to use colours: on a terminal that knows them, unless ``$NO_COLOR`` is set (https://no-color.org)."""
    return stream.isatty() and environ.get("TERM") != "dumb" and not environ.get("NO_COLOR")


@attrs.define
class Screen:
    """
    The output of a command. Everything is flushed at once, since the reader is to see it when it happens.

    :ivar stream: where to.
    :ivar is_coloured: whether in colours (``bool``).
    """

    stream: TextIO
    is_coloured: bool = False
    _steps: int = attrs.field(default=0, init=False)

    @classmethod
    def on(cls, stream: TextIO, environ: Mapping[str, str]) -> Screen:
        """A screen on *stream*, coloured as :func:`is_coloured` decides."""
        return cls(stream, is_coloured(stream, environ))

    def text(self, text: str = "") -> None:
        """A line for the reader."""
        print(text, file=self.stream, flush=True)

    def title(self, text: str) -> None:
        """What begins here."""
        self.text(self._in(BOLD, text))

    def step(self, title: str, *explanation: str) -> None:
        """The next step begins: what it is, and a line or two about it."""
        self._steps += 1
        self.text()
        self.title(f"{self._steps}. {title}")
        for line in explanation:
            self.text(f"   {line}")

    def code(self, line: str) -> None:
        """The line of Python that is about to run."""
        self.text("    " + self._in(CYAN, line))

    def result(self, text: str) -> None:
        """What came of it."""
        self.text("          " + self._in(GREEN, f"-> {text}"))

    def _in(self, colour: int, text: str) -> str:
        return f"\033[{colour}m{text}\033[0m" if self.is_coloured else text
