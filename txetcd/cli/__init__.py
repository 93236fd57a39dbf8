"""
The ``txetcd`` command: a tour of the library (``txetcd demo``), and real servers for development (``txetcd up``).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Coroutine, Sequence
from typing import Any, Optional

from .._url import check_url
from .._version import __version__
from ..errors import Error
from ..testing import EtcdFailed, EtcdNotFound
from ._demo import demo
from ._run import leave_when_interrupted, run
from ._terminal import Screen
from ._up import up

FAILED = 1
"""The exit status when a server cannot be reached, started, or went away."""

UNUSABLE = 2
"""The exit status when nothing could be tried: wrong arguments, or no etcd to run."""

EXIT_STATUS = """\
exit status: 0 for success (of `up`: also when a signal ended it while it was
running), 1 if a server cannot be reached, started, or went away, 2 for wrong
arguments and if there is no etcd to run, 128 + its number if a signal ended it
before: 130 after Ctrl-C."""

MAX_PORT = 65535


def main() -> int:
    """
    The entry point: does what ``sys.argv`` asks for.

    From now on Ctrl-C is no ``KeyboardInterrupt`` any more: before the work begins, and after it is done, it ends the
    process at once with 130.

    :return: the exit status: 0 for success, :data:`FAILED`, :data:`UNUSABLE`, or 128 + the number of the signal that
        ended it before it was done.
    :raises SystemExit: from ``argparse``, for ``--help``, ``--version`` and wrong arguments.
    """
    leave_when_interrupted()
    options = parse(sys.argv[1:])
    if options is None:
        return UNUSABLE
    try:
        from twisted.internet import reactor

        screen = Screen.on(sys.stdout, os.environ)
        return run(reactor, lambda: attempt(work_of(options, reactor, screen)))
    except BrokenPipeError:
        # The reader has seen enough, as in ``txetcd demo | head``. Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def parse(arguments: Sequence[str]) -> Optional[argparse.Namespace]:
    """What the *arguments* ask for; ``None`` for nothing: then the help was printed."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help(sys.stderr)
        return None
    if options.command == "up" and options.port is not None and options.port + options.nodes - 1 > MAX_PORT:
        parser.error(f"there are not {options.nodes} ports from {options.port} on")
    return options


def work_of(options: argparse.Namespace, reactor: Any, screen: Screen) -> Coroutine[Any, Any, int]:
    """The command that the *options* name."""
    if options.command == "demo":
        return demo(reactor, options.url, screen)
    return up(reactor, options.nodes, options.port, screen)


async def attempt(work: Coroutine[Any, Any, int]) -> int:
    """The exit status of *work*. What can go wrong without anybody's mistake is told in a line, without a traceback."""
    try:
        return await work
    except EtcdNotFound as error:
        _complain(error)
        return UNUSABLE
    except (Error, EtcdFailed) as error:
        _complain(error)
        return FAILED


def _complain(error: Exception) -> None:
    print(f"txetcd: {error}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="txetcd",
        description="txetcd, an asynchronous etcd client for Twisted.",
        epilog=EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"txetcd {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    _add_demo(commands)
    _add_up(commands)
    return parser


def _add_demo(commands: Any) -> None:
    text = "A tour of the library in a few seconds, on a real etcd: each call, and what came of it."
    parser = commands.add_parser("demo", help="a tour of the library, on a real etcd", description=text)
    parser.add_argument(
        "--url",
        type=_url,
        help="the etcd to use, such as http://localhost:2379: only keys of the demo's own are touched there, and "
        "deleted at the end (default: start one, and stop it at the end)",
    )


def _add_up(commands: Any) -> None:
    text = "Keeps a real etcd running until Ctrl-C, and tells its URL. Its data are removed at the end."
    parser = commands.add_parser("up", help="keep an etcd running, for development", description=text)
    parser.add_argument(
        "--nodes", type=_nodes, default=1, metavar="N", help="how many servers, as one cluster (default: 1)"
    )
    parser.add_argument(
        "--port",
        type=_port,
        metavar="P",
        help="the port for clients of the first server; the others have the next ones (default: any free ports)",
    )


def _url(text: str) -> str:
    try:
        return check_url("it", text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _nodes(text: str) -> int:
    return _number(text, 1, 99)


def _port(text: str) -> int:
    return _number(text, 1, MAX_PORT)


def _number(text: str, least: int, most: int) -> int:
    if not text.isdecimal() or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"must be a number from {least} to {most}, not {text!r}")
    return int(text)
