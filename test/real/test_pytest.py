"""
Servers for the tests of others, run by pytest as the docstring of :mod:`txetcd.testing` says.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SynchronousTestCase

from test.real.base import GATEWAY, RealCase, on_newest_server
from test.real.test_testing import lives
from txetcd import testing

ROOT = Path(__file__).resolve().parents[2]

FIXTURES = re.compile(r"use pytest-twisted.*?::\n\n(.*?)\n\n(?=\S)", re.DOTALL)
"""The block of the docstring."""

IMPORTS = """
import pytest
import pytest_twisted
from twisted.internet import reactor
from txetcd import Client
from txetcd.testing import EtcdProcess

"""

WITH_FIXTURES = """

async def counted(etcd):
    async with Client(reactor, etcd.url) as client:
        await client.set(b"key", b"value")
        return (await client.get(b"key")).kvs[0].version


@pytest.mark.parametrize("number", range(2))
@pytest_twisted.ensureDeferred
async def test_one_each(etcd, number):
    print("ran", etcd.pid)
    assert await counted(etcd) == 1


@pytest.mark.parametrize("number", range(2))
@pytest_twisted.ensureDeferred
async def test_one_for_all(shared_etcd, number):
    print("ran", shared_etcd.pid)
    assert await counted(shared_etcd) == number + 1


@pytest_twisted.ensureDeferred
async def test_fails(etcd):
    assert await counted(etcd) == "never"
"""
"""The last one shows that a test with these fixtures can fail."""

OF_TRIAL = """
from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from txetcd import Client
from txetcd.testing import EtcdProcess, namespace

etcd = EtcdProcess(reactor)


class TestOneForAll(TestCase):
    async def setUp(self):
        self.prefix = namespace(self)
        if not etcd.is_running:
            await etcd.start()
        self.client = Client(reactor, etcd.url)
        self.addCleanup(self.client.close)

    async def test_first(self):
        print("ran", etcd.pid)
        await self.client.create(self.prefix + b"key", b"value")

    async def test_second(self):
        print("ran", etcd.pid)
        await self.client.create(self.prefix + b"key", b"value")


class TestOneEach(TestCase):
    async def setUp(self):
        self.etcd = EtcdProcess(reactor)
        self.addCleanup(self.etcd.stop)
        await self.etcd.start()

    async def test_alone(self):
        print("ran", self.etcd.pid)
        async with Client(reactor, self.etcd.url) as client:
            await client.create(b"key", b"value")

    async def test_fails(self):
        self.fail("as it should")
"""


def fixtures() -> str:
    """What the docstring says, as it stands there."""
    (found,) = FIXTURES.findall(testing.__doc__ or "")
    return dedent(found)


class Text(SynchronousTestCase):
    """Of the docstring itself."""

    def test_found(self) -> None:
        self.assertEqual(re.findall(r"^(?:async )?def (\w+)", fixtures(), re.MULTILINE), ["etcd", "shared_etcd"])


@on_newest_server(schemes=[GATEWAY])
class Pytest(RealCase):
    """Tests pass and fail as they are to, and no server is left."""

    async def pytest(self: Any, code: str, *options: str) -> str:
        """What it prints about tests with this *code*."""
        directory = Path(self.mktemp())
        directory.mkdir(parents=True)
        (directory / "test_mine.py").write_text(code)
        # what runs these tests may have plugins and options of its own
        environment = {**os.environ, "ETCD": self.server.path, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
        arguments = ["-m", "pytest", "--rootdir=.", "-s", "-q", "-p", "no:cacheprovider", *options, "test_mine.py"]
        output, errors, status = await getProcessOutputAndValue(
            sys.executable, arguments, environment, path=str(directory)
        )
        self.assertEqual((errors.decode(), status), ("", 1), output.decode())
        return str(output.decode())

    def assert_ran(self: Any, output: str, tests: int, servers: int) -> None:
        """So many tests have passed, and one has not; so many servers ran for them, and none does any more."""
        self.assertIn(f"1 failed, {tests} passed", output)
        pids = re.findall(r"ran (\d+)", output)
        self.assertEqual((len(pids), len(set(pids))), (tests, servers), output)
        self.assertEqual([pid for pid in pids if lives(int(pid))], [])

    async def test_fixtures(self: Any) -> None:
        output = await self.pytest(IMPORTS + fixtures() + WITH_FIXTURES)
        self.assert_ran(output, tests=4, servers=3)
        self.assertIn("assert 1 == 'never'", output)

    async def test_cases_of_trial(self: Any) -> None:
        """Without the plugin, which would run the reactor that trial runs."""
        output = await self.pytest(OF_TRIAL, "-p", "no:twisted")
        self.assertIn("as it should", output)
        self.assert_ran(output, tests=3, servers=2)
