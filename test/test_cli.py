"""
The ``txetcd`` command without a server: its arguments, its exit statuses, what it says, how it ends.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import os
import re
import signal
import sys
from collections.abc import Iterator
from typing import Any, Callable, Optional

import attrs
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txetcd import Event, KeySet, KeyValue, Range, Timeout, Unavailable, __version__, cli
from txetcd.cli import _demo, _run, _up, attempt, main, parse
from txetcd.cli._run import run
from txetcd.cli._terminal import Screen, is_coloured
from txetcd.testing import EtcdFailed, EtcdNotFound
from txetcd.values import Header, Outcome


@contextlib.contextmanager
def captured() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """What is written to stdout, and to stderr."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        yield out, errors


async def returning(value: Any) -> Any:
    return value


async def raising(error: Exception) -> Any:
    raise error


class ParseTests(SynchronousTestCase):
    def refused(self, *arguments: str) -> str:
        """The last line about arguments that are wrong."""
        with captured() as (_, errors), self.assertRaises(SystemExit) as caught:
            parse(arguments)
        self.assertEqual(caught.exception.code, 2)
        return errors.getvalue().splitlines()[-1]

    def test_demo(self) -> None:
        options = parse(["demo"])
        assert options is not None
        self.assertEqual((options.command, options.url), ("demo", None))

    def test_demo_url(self) -> None:
        options = parse(["demo", "--url", "http://localhost:2379/"])
        assert options is not None
        self.assertEqual(options.url, "http://localhost:2379")

    def test_demo_wrong_url(self) -> None:
        for url in ("localhost:2379", "ftp://localhost", "http://", "http://a,http://b"):
            self.assertRegex(self.refused("demo", "--url", url), f"--url: .*{re.escape(url)}")

    def test_up(self) -> None:
        options = parse(["up"])
        assert options is not None
        self.assertEqual((options.command, options.nodes, options.port), ("up", 1, None))
        options = parse(["up", "--nodes", "3", "--port", "65533"])
        assert options is not None
        self.assertEqual((options.nodes, options.port), (3, 65533))

    def test_up_wrong(self) -> None:
        self.assertIn("--nodes: must be a number from 1 to 99, not '0'", self.refused("up", "--nodes", "0"))
        self.assertIn("--nodes", self.refused("up", "--nodes", "three"))
        self.assertIn("--port: must be a number from 1 to 65535, not '65536'", self.refused("up", "--port", "65536"))
        self.assertIn("3 ports from 65534 on", self.refused("up", "--nodes", "3", "--port", "65534"))
        self.refused("down")

    def test_nothing(self) -> None:
        """The help, where it does not disturb."""
        with captured() as (out, errors):
            self.assertIsNone(parse([]))
        self.assertEqual(out.getvalue(), "")
        self.assertIn("demo", errors.getvalue())

    def test_version(self) -> None:
        with captured() as (out, _), self.assertRaises(SystemExit) as caught:
            parse(["--version"])
        self.assertEqual((caught.exception.code, out.getvalue()), (0, f"txetcd {__version__}\n"))

    def test_help(self) -> None:
        with captured() as (out, _), self.assertRaises(SystemExit) as caught:
            parse(["--help"])
        self.assertEqual(caught.exception.code, 0)
        self.assertRegex(out.getvalue(), r"(?s)demo .*up .*exit status: 0 .* 130 after Ctrl-C")


class AttemptTests(SynchronousTestCase):
    """What an outcome is to the shell, and to the reader."""

    def attempted(self, work: Any) -> tuple[int, str]:
        with captured() as (out, errors):
            status = self.successResultOf(Deferred.fromCoroutine(attempt(work)))
        self.assertEqual(out.getvalue(), "")
        return status, errors.getvalue()

    def test_success(self) -> None:
        self.assertEqual(self.attempted(returning(0)), (0, ""))

    def test_no_etcd(self) -> None:
        self.assertEqual(self.attempted(raising(EtcdNotFound("there is no etcd"))), (2, "txetcd: there is no etcd\n"))

    def test_does_not_start(self) -> None:
        self.assertEqual(self.attempted(raising(EtcdFailed("taken"))), (1, "txetcd: taken\n"))

    def test_error(self) -> None:
        """A line, also if the server said more."""
        self.assertEqual(self.attempted(raising(Unavailable(None, "not\nnow"))), (1, "txetcd: not now\n"))

    def test_mistake(self) -> None:
        """A mistake of ours keeps its traceback."""
        self.failureResultOf(Deferred.fromCoroutine(attempt(raising(KeyError("x")))), KeyError)


class MainTests(SynchronousTestCase):
    def setUp(self) -> None:
        # as in a new process, however the tests were started
        self.addCleanup(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))

    def main(self, *arguments: str, run: Callable[..., int]) -> int:
        self.patch(sys, "argv", ["txetcd", *arguments])
        self.patch(cli, "run", run)
        return main()

    def test_nothing(self) -> None:
        with captured():
            self.assertEqual(self.main(run=lambda *_: 0), 2)

    def test_commands(self) -> None:
        """The command gets what it was told, and its status is the one of the process."""
        said: list[Any] = []

        async def command(reactor: Any, *options: Any) -> int:
            said.extend(options[:-1])
            return 7

        def run(reactor: Any, work: Callable[[], Any]) -> int:
            return self.successResultOf(Deferred.fromCoroutine(work()))

        self.patch(cli, "demo", command)
        self.patch(cli, "up", command)
        self.assertEqual(self.main("demo", "--url", "http://a", run=run), 7)
        self.assertEqual(self.main("up", "--nodes", "3", run=run), 7)
        self.assertEqual(said, ["http://a", 3, None])

    def test_interrupted(self) -> None:
        """Before the work has begun, and after it has ended, there is nothing to undo, and nothing to say."""
        ended: list[int] = []
        self.patch(os, "_exit", ended.append)
        self.assertEqual(self.main("demo", run=lambda *_: signal.raise_signal(signal.SIGINT) or 7), 7)
        self.assertEqual(ended, [130])
        signal.raise_signal(signal.SIGINT)
        self.assertEqual(ended, [130, 130])

    def test_interrupts_ignored(self) -> None:
        """What the parent has us ignore stays ignored."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.assertEqual(self.main("demo", run=lambda *_: 7), 7)
        self.assertEqual(signal.getsignal(signal.SIGINT), signal.SIG_IGN)

    def test_reader_gone(self) -> None:
        def broken(*_: Any) -> int:
            raise BrokenPipeError

        with open(self.mktemp(), "w", encoding="utf-8") as out:
            self.patch(sys, "stdout", out)
            self.assertEqual(self.main("demo", run=broken), 1)
            self.assertTrue(os.path.samestat(os.fstat(out.fileno()), os.stat(os.devnull)))


class FakeReactor:
    """Does what the test says while it starts, starts, does what the test says, and must have been stopped then."""

    def __init__(self, *acts: Callable[[], object], early: Callable[[], object] = lambda: None) -> None:
        self._acts = acts
        self._early = early
        self._start: Callable[[], object] = lambda: None
        self._calls: list[Callable[[], object]] = []
        self.is_stopped = False

    def callWhenRunning(self, start: Callable[[], object]) -> None:
        self._start = start

    def callFromThread(self, function: Callable[[], object]) -> None:
        self._calls.append(function)

    def run(self, installSignalHandlers: bool) -> None:
        assert not installSignalHandlers
        self._early()
        for act in (self._start, *self._acts):
            act()
            calls, self._calls = self._calls, []
            for call in calls:
                call()
        assert self.is_stopped

    def stop(self) -> None:
        if self.is_stopped:
            raise ReactorNotRunning
        self.is_stopped = True


class RunTests(SynchronousTestCase):
    def setUp(self) -> None:
        for number in _run.SIGNALS:
            # as in an interactive shell, however the tests were started
            self.addCleanup(signal.signal, number, signal.signal(number, self.unexpected))

    def unexpected(self, number: int, _: object) -> None:
        self.fail(f"signal {number} was not handled")

    def test_done(self) -> None:
        self.assertEqual(run(FakeReactor(), lambda: returning(3)), 3)

    def test_fails(self) -> None:
        with self.assertRaises(KeyError):
            run(FakeReactor(), lambda: raising(KeyError("x")))

    def test_handlers_restored(self) -> None:
        run(FakeReactor(), lambda: returning(0))
        self.assertEqual({signal.getsignal(number) for number in _run.SIGNALS}, {self.unexpected})

    def test_signal(self) -> None:
        """Cancels the work, and waits until it has undone what it did."""
        for number in _run.SIGNALS:
            undone: Deferred[None] = Deferred()

            async def work(undone: Deferred[None] = undone) -> int:
                try:
                    await Deferred()
                finally:
                    await undone
                return 0

            def undo(undone: Deferred[None] = undone) -> None:
                self.assertFalse(reactor.is_stopped)
                undone.callback(None)

            reactor = FakeReactor(lambda: signal.raise_signal(number), undo)
            self.assertEqual(run(reactor, work), 128 + number)

    def test_early_signal(self) -> None:
        """While the reactor is not running yet."""
        reactor = FakeReactor(early=lambda: signal.raise_signal(signal.SIGINT))

        async def work() -> int:
            return await Deferred()

        self.assertEqual(run(reactor, work), 130)

    def test_signal_is_the_end(self) -> None:
        """Work that is meant to be ended so says what that means."""

        async def work() -> int:
            try:
                await Deferred()
            except CancelledError:
                pass
            return 0

        self.assertEqual(run(FakeReactor(lambda: signal.raise_signal(signal.SIGTERM)), work), 0)

    def test_second(self) -> None:
        """Another Ctrl-C waits no longer; any other signal is nothing new."""

        async def work() -> int:
            try:
                await Deferred()
            finally:
                await cleanup
            return 0

        cleanup: Deferred[None] = Deferred()
        reactor = FakeReactor(
            lambda: signal.raise_signal(signal.SIGTERM),
            lambda: signal.raise_signal(signal.SIGTERM),
            lambda: self.assertFalse(reactor.is_stopped),
            lambda: signal.raise_signal(signal.SIGINT),
            lambda: self.assertTrue(reactor.is_stopped),
        )
        self.assertEqual(run(reactor, work), 128 + signal.SIGTERM)
        cleanup.callback(None)

    def test_ignored(self) -> None:
        """What the parent has us ignore stays ignored."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        done: Deferred[int] = Deferred()

        async def work() -> int:
            return await done

        self.assertEqual(
            run(FakeReactor(lambda: signal.raise_signal(signal.SIGINT), lambda: done.callback(5)), work), 5
        )


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class ScreenTests(SynchronousTestCase):
    def test_is_coloured(self) -> None:
        self.assertTrue(is_coloured(Terminal(), {"TERM": "xterm"}))
        self.assertTrue(is_coloured(Terminal(), {"NO_COLOR": ""}))
        self.assertFalse(is_coloured(Terminal(), {"NO_COLOR": "1"}))
        self.assertFalse(is_coloured(Terminal(), {"TERM": "dumb"}))
        self.assertFalse(is_coloured(io.StringIO(), {"TERM": "xterm"}))

    def written(self, stream: io.StringIO) -> str:
        screen = Screen.on(stream, {})
        screen.step("One", "why", "so")
        screen.code("x = 1")
        screen.result("1")
        return stream.getvalue()

    def test_plain(self) -> None:
        text = "\n1. One\n   why\n   so\n    x = 1\n          -> 1\n"
        self.assertEqual(self.written(io.StringIO()), text)

    def test_colours(self) -> None:
        """They are all that differs, and each ends in its line."""
        written = self.written(Terminal())
        self.assertEqual(re.sub("\033\\[\\d+m", "", written), self.written(io.StringIO()))
        for line in written.splitlines():
            self.assertIn(line.count("\033"), (0, 2))


class FakeClient:
    """Has no server; what it was asked is in ``log``."""

    log: list[Any]
    error: Optional[Exception] = None

    def __init__(self, reactor: Any, url: str, timeout: float) -> None:
        self.log = []
        FakeClient.last = self

    last: FakeClient

    async def delete(self, keys: KeySet, timeout: float) -> None:
        self.log.append(("delete", keys))
        if self.error:
            raise self.error

    def close(self) -> Deferred[None]:
        self.log.append("close")
        return succeed(None)


class DemoTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.out = io.StringIO()
        self.screen = Screen(self.out)
        self.clock = Clock()
        self.patch(_demo, "Client", FakeClient)

    def test_shows_what_it_runs(self) -> None:
        """Each line of code that is shown is one of the lines that run, and is shown before it is."""
        for step in _demo.STEPS:
            source = inspect.getsource(step)
            lines = [re.sub(r": DeferredQueue\[Any\]|: str| -> None", "", line.strip()) for line in source.splitlines()]
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "screen.code":
                    shown = ast.literal_eval(node.args[0]).strip()
                    self.assertIn(shown, lines[node.lineno :], step)

    def test_imports(self) -> None:
        """All names in the lines that are shown are explained."""
        _demo.set_out("http://a:1", b"p/", self.screen)
        names: dict[str, Any] = {}
        lines = [line.strip() for line in self.out.getvalue().splitlines() if line.startswith("    ")]
        exec("\n".join(line for line in lines if "import" in line), names)
        for step in _demo.STEPS:
            code = inspect.getsource(step)
            for name in ("DeferredQueue", "deferLater", "gatherResults", "Deferred", "CompValue", "KeySet", "OpGet"):
                self.assertTrue(name not in code or name in names, name)
        self.assertIn('prefix = b"p/"  # all keys of this tour begin so', lines)
        self.assertIn('etcd = Client(reactor, "http://a:1", timeout=5)', lines[-1])

    def test_all_steps(self) -> None:
        """One after the other, with the same client and prefix; then it is closed."""
        said: list[Any] = []

        async def step(etcd: Any, prefix: bytes, screen: Screen) -> None:
            said.append((etcd, prefix))

        self.patch(_demo, "STEPS", (step, step))
        for _ in range(2):
            self.assertEqual(self.demo(), 0)
        self.assertEqual(said[0], said[1])
        self.assertNotEqual(said[1][1], said[2][1])
        self.assertEqual(FakeClient.last.log, ["close"])
        self.assertRegex(self.out.getvalue().splitlines()[-1], "^Next: ")

    def demo(self) -> int:
        return self.successResultOf(self.begin())

    def begin(self) -> Deferred[int]:
        return Deferred.fromCoroutine(_demo.demo(self.clock, "http://a", self.screen))

    def assert_cleaned_up(self) -> None:
        (deletion, keys), close = FakeClient.last.log
        self.assertEqual((deletion, close), ("delete", "close"))
        self.assertRegex(keys.key, rb"^txetcd-demo-\w{8}/$")
        self.assertTrue(keys.prefix)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertNotIn("Next:", self.out.getvalue())

    def test_step_fails(self) -> None:
        """The keys are deleted all the same; if that fails too, the first reason counts."""
        self.patch(_demo, "STEPS", (lambda *_: raising(Unavailable(None, "gone")),))
        for error in (None, Unavailable(None, "also gone")):
            self.patch(FakeClient, "error", error)
            self.assertEqual(str(self.failureResultOf(self.begin(), Unavailable).value), "gone")
            self.assert_cleaned_up()

    def test_cancelled(self) -> None:
        self.patch(_demo, "STEPS", (lambda *_: Deferred(),))
        touring = self.begin()
        touring.cancel()
        self.failureResultOf(touring, CancelledError)
        self.assert_cleaned_up()

    def test_too_long(self) -> None:
        self.patch(_demo, "STEPS", (lambda *_: Deferred(),))
        touring = self.begin()
        self.clock.advance(_demo.TOUR_SECONDS)
        self.assertIn("not done within 20 seconds", str(self.failureResultOf(touring, Timeout).value))
        self.assert_cleaned_up()

    def test_show_keys(self) -> None:
        _demo.show_keys(Range([KeyValue(b"p/k", b"v", 2, 3, 4)]), b"p/", self.screen)
        self.assertIn("-> k = v  (version 2, of revision 4)\n", self.out.getvalue())

    def test_show_outcome(self) -> None:
        _demo.show_outcome(Outcome(True, Header(revision=5)), b"p/", self.screen)
        _demo.show_outcome(Outcome(False, responses=[Range([KeyValue(b"p/k", b"v")])]), b"p/", self.screen)
        self.assertRegex(self.out.getvalue(), r"(?s)it was so.* 5\n.*it was not so.* k = v")

    def test_told(self) -> None:
        self.assertEqual(_demo.told(Event("PUT", KeyValue(b"p/k", b"v")), b"p/"), "put k = v")
        self.assertEqual(_demo.told(Event("DELETE", KeyValue(b"p/k")), b"p/"), "delete k")


@attrs.define
class FakeMember:
    url: str
    is_running: bool = True
    version = "3.5.1"


class FakeCluster:
    """Runs as soon as it is entered."""

    def __init__(self, reactor: Any, size: int, *, client_port: Optional[int]) -> None:
        port = client_port or 1000
        self.members = [FakeMember(f"http://127.0.0.1:{port + number}") for number in range(size)]
        self.is_left = False
        FakeCluster.last = self

    last: FakeCluster

    async def __aenter__(self) -> FakeCluster:
        return self

    async def __aexit__(self, *reason: object) -> None:
        self.is_left = True


class UpTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.out = io.StringIO()
        self.clock = Clock()
        self.patch(_up, "EtcdCluster", FakeCluster)

    def begin(self, nodes: int, port: Optional[int] = None) -> Deferred[int]:
        return Deferred.fromCoroutine(_up.up(self.clock, nodes, port, Screen(self.out)))

    def test_until_cancelled(self) -> None:
        running = self.begin(1)
        self.clock.pump([_up.LOOK_SECONDS] * 10)
        self.assertNoResult(running)
        self.assertIn("export ETCD_URL=http://127.0.0.1:1000", self.out.getvalue().splitlines())
        running.cancel()
        self.assertEqual(self.successResultOf(running), 0)
        self.assertTrue(FakeCluster.last.is_left)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cluster(self) -> None:
        """Goes on while one of its members runs."""
        running = self.begin(3, 2000)
        (urls,) = re.findall(r"export ETCD_URL=(http.*)", self.out.getvalue())
        self.assertEqual(urls.split(","), [f"http://127.0.0.1:{port}" for port in (2000, 2001, 2002)])
        for member in FakeCluster.last.members:
            self.assertNoResult(running)
            member.is_running = False
            self.clock.advance(_up.LOOK_SECONDS)
        self.assertIn("no server is running", str(self.failureResultOf(running, EtcdFailed).value))
        self.assertTrue(FakeCluster.last.is_left)

    def test_cancelled_while_starting(self) -> None:
        """Not its regular end: it never ran."""
        self.patch(FakeCluster, "__aenter__", lambda cluster: Deferred())
        running = self.begin(1)
        running.cancel()
        self.failureResultOf(running, CancelledError)
        self.assertEqual(self.out.getvalue(), "")
