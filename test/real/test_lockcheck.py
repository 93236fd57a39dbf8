"""
The checker of locks, on a real lock: what its page tells runs as it stands there.
"""

from __future__ import annotations

from textwrap import dedent
from typing import Any

from test.real.base import RealCase, on_newest_server
from test.real.test_guide import BLOCK, ROOT, Snippet

PAGE = ROOT / "docs" / "recipes-checking.rst"


def snippets() -> list[Snippet]:
    text = PAGE.read_text(encoding="utf-8")
    return [Snippet(dedent(block[1]), text.count("\n", 0, block.start(1)) + 1) for block in BLOCK.finditer(text)]


@on_newest_server()
class Page(RealCase):
    """The snippets of the page, with a server of their own."""

    async def start(self: Any) -> None:
        self.own = await self.own_server()
        self.etcd = self.client(self.own.url)

    async def test_snippets(self: Any) -> None:
        noted, told = snippets()
        printed: list[tuple[object, ...]] = []
        record = await noted.run(self.reactor, self.etcd, lambda *words: printed.append(words))
        self.assertEqual(printed, [("held", 9, "times, one at a time")])
        self.assertIsNone(record)
        self.assertEqual(told.unknown_names, set())
