"""
Lines out of bytes that arrive in pieces.
"""

from __future__ import annotations

from collections.abc import Iterator

from .errors import ProtocolViolation


class LineFramer:
    r"""
    Cuts a stream of bytes into its lines, which end with ``\n``.

    The gateway sends one JSON object a line. An object may come in any number of pieces (a watch answer can have many
    megabytes), several may come in one piece, and the end of a line may come alone. Blank lines say nothing.

    A piece is looked at once and kept as it came until its line is complete, so that a long line costs no more than
    its length.

    :param max_line: the bytes that a line may have at the most; a longer one is refused, because it would be kept
        whole in memory.
    """

    def __init__(self, max_line: int) -> None:
        self._max_line = max_line
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """
        Takes what has arrived, as far as the iterator is gone through.

        :returns: the lines that are complete now, without their ends and without blank ones.
        :raises ProtocolViolation: when a line is too long, after those before it.
        """
        *ends, rest = data.split(b"\n")
        for end in ends:
            line = self._completed(end)
            if line:
                yield line
        self._keep(rest)

    def finish(self) -> list[bytes]:
        """
        Nothing more will arrive.

        :returns: the last line, if it came without an end.
        """
        line = self._completed(b"")
        return [line] if line else []

    def _completed(self, end: bytes) -> bytes:
        self._keep(end)
        pieces, self._pieces, self._size = self._pieces, [], 0
        return b"".join(pieces).strip()

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._max_line:
            raise ProtocolViolation(f"a line of more than {self._max_line} bytes")
        if piece:
            self._pieces.append(piece)
