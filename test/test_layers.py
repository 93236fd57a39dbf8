"""
The import ladder: every module has its place, and imports only from below.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

PACKAGE = "txetcd"
ROOT = Path(__file__).parent.parent / PACKAGE

LADDER = [
    ("L0", "errors _check _version"),
    ("L0", "keyset _lines _url _backoff _host _frames _fields _varint _codegen _garbage _quotes"),
    ("L0", "values"),
    ("L1", "ops _messages"),
    ("L1", "_schema"),
    ("L2", "_runs _json_runs"),
    ("L2", "_json _protobuf _answers _endpoints _retry _identity"),
    ("L2", "_watchcore _leasecore"),
    ("L2", "_http2"),
    ("L2", "_clues _grpc"),
    ("L3", "_transport _tls"),
    ("L3", "_connections"),
    ("L3", "_channel _deadlines"),
    ("L3", "_gateway _native _tokens _counters _silence"),
    ("L4", "_attempts"),
    ("L4", "_calls _clock _context _credentials _since"),
    ("L5", "_snapshot _reading _watchstreams _keepalives"),
    ("L5", "_watchpart"),
    ("L5", "_progress"),
    ("L5", "watch lease _sync cluster maintenance auth"),
    ("L6", "recipes"),
    ("L6", "recipes._etcd recipes._name recipes._number recipes._order recipes._shielded"),
    ("L6", "recipes._outages recipes._stm recipes._tree recipes._awaited"),
    ("L6", "recipes._until recipes._once recipes._consumers"),
    ("L6", "recipes.mirror recipes.session recipes.stm"),
    ("L6", "recipes._lifetimes"),
    ("L6", "recipes._treechanges"),
    ("L6", "recipes.tree"),
    ("L6", "recipes._place recipes._standing recipes._leases"),
    ("L6", "recipes._contest"),
    ("L6", "recipes._contender"),
    ("L6", "recipes.lock recipes.rwlock recipes.semaphore recipes.election"),
    ("L6", "recipes.barrier recipes.double_barrier recipes.registration"),
    ("L6", "recipes.party recipes.registry"),
    ("L6", "recipes._line recipes._producers"),
    ("L6", "recipes._taking"),
    ("L6", "recipes.queue recipes.counter recipes.sequence"),
    ("L6", "recipes.workqueue"),
    ("L7", "client"),
    ("L8", "testing._binary testing._violation"),
    ("L8", "testing._identity testing._watchcheck"),
    ("L8", "testing._ports testing.lockcheck"),
    ("L8", "testing._life"),
    ("L8", "testing._child"),
    ("L8", "testing._process"),
    ("L8", "testing._door testing._faults"),
    ("L8", "testing._line"),
    ("L8", "testing._relay"),
    ("L8", "testing._proxy"),
    ("L8", "testing._network"),
    ("L8", "testing._cluster"),
    ("L8", "testing"),
    ("L8", "cli._terminal cli._run"),
    ("L8", "cli._demo cli._up"),
    ("L8", "cli"),
    ("L8", "__main__"),
]
"""
The rungs from the lowest to the highest, each with its level and its modules; the modules of a rung do not know each
other. A level has several rungs where its modules build on one another.
"""

TOP = ("L9", PACKAGE)

ANNOTATIONS_ONLY = {
    # Errors carry what the answer was, so their annotations name values; no value is needed to raise one.
    ("txetcd.errors", "txetcd.values"),
}
"""Imports for the type checker alone that may go upward."""

PROGRAMS = {"txetcd.cli"}
"""Modules with a function that is run as a program: that is where the reactor comes from, and nowhere else."""

PURE_LEVELS = ("L0", "L1", "L2")
IMPURE = {"twisted", "treq", "time", "socket", "random", "threading", "os"}
WEB = ("treq", "twisted.web", "hyperlink")


def ranks() -> dict[str, int]:
    rungs = [[f"{PACKAGE}.{name}" for name in names.split()] for _, names in LADDER] + [[TOP[1]]]
    return {module: rank for rank, rung in enumerate(rungs) for module in rung}


def levels() -> dict[str, str]:
    return {f"{PACKAGE}.{name}": level for level, names in LADDER for name in names.split()}


def modules() -> dict[str, Path]:
    """Every module of the package that there is, by its dotted name."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imported(module: str, path: Path) -> Iterator[str]:
    """The dotted name of everything that a module imports, wherever in its text."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{_base(package, node)}.{alias.name}" for alias in node.names)


def _base(package: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parents = package.split(".")
    return ".".join([*parents[: len(parents) + 1 - node.level], *filter(None, [node.module])])


def imported_modules(module: str) -> set[str]:
    """The modules of the package that a module imports."""
    names = {name for name in imported(module, MODULES[module]) if f"{name}.".startswith(f"{PACKAGE}.")}
    # what is not a module is a name out of one
    return {name if name in MODULES else name.rpartition(".")[0] for name in names}


def is_within(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def importers_of(*packages: str) -> set[str]:
    return {
        module
        for module, path in MODULES.items()
        if any(is_within(name, package) for name in imported(module, path) for package in packages)
    }


class LadderTests(SynchronousTestCase):
    def test_every_module_has_a_rank(self) -> None:
        self.assertEqual(sorted(MODULES), sorted(ranks()))

    def test_no_module_has_two_ranks(self) -> None:
        names = [name for _, names in LADDER for name in names.split()]
        self.assertEqual(len(names), len(set(names)))

    def test_imports_go_downward(self) -> None:
        rank = ranks()
        wrong = {
            f"{module} imports {other}"
            for module in MODULES
            for other in imported_modules(module)
            if rank[other] >= rank[module] and (module, other) not in ANNOTATIONS_ONLY
        }
        self.assertEqual(set(), wrong)

    def test_imports_for_annotations_only(self) -> None:
        """They stand under ``if TYPE_CHECKING`` indeed, and every exception is used."""
        for module, other in ANNOTATIONS_ONLY:
            self.assertIn(other, imported_modules(module))
            tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
            at_run_time = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
            self.assertNotIn(other.rpartition(".")[2], [getattr(node, "module", None) for node in at_run_time])

    def test_recipes_stand_on_the_public_verbs(self) -> None:
        below = ["client", "_calls", "_gateway", "_transport", "_schema", "_messages", "_json", "_protobuf"]
        recipes = [module for module in MODULES if is_within(module, f"{PACKAGE}.recipes")]
        self.assertTrue(recipes)
        for recipe in recipes:
            self.assertEqual(set(), imported_modules(recipe) & {f"{PACKAGE}.{name}" for name in below}, recipe)


class PurityTests(SynchronousTestCase):
    def test_pure_levels_decide_and_do_not_act(self) -> None:
        for module, level in levels().items():
            if level in PURE_LEVELS:
                roots = {name.partition(".")[0] for name in imported(module, MODULES[module])}
                self.assertEqual(set(), roots & IMPURE, module)

    def test_one_module_knows_the_web(self) -> None:
        self.assertEqual({"txetcd._gateway"}, importers_of(*WEB))

    def test_no_module_imports_the_reactor(self) -> None:
        self.assertEqual(set(), importers_of("twisted.internet.reactor") - PROGRAMS)

    def test_programs_import_the_reactor_when_they_run(self) -> None:
        for module in PROGRAMS:
            tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
            at_import_time = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
            self.assertNotIn("reactor", [alias.name for node in at_import_time for alias in node.names], module)

    def test_importing_does_nothing_else(self) -> None:
        """No reactor is installed, no framework selected for txaio, no thread started, nothing said."""
        program = (
            "import json, os, sys, threading; before = dict(os.environ); import txetcd; "
            "reactor = 'twisted.internet.reactor' in sys.modules; import txaio; "
            "print(json.dumps([reactor, txaio.using_twisted, txaio.using_asyncio, threading.active_count(),"
            " dict(os.environ) == before]))"
        )
        run = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT.parent, capture_output=True, text=True, timeout=120, check=False
        )
        self.assertEqual("", run.stderr)
        self.assertEqual([False, False, False, 1, True], json.loads(run.stdout))
