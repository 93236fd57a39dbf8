"""
The names that the package offers, what is written about them, and the order of their parameters.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Union

from twisted.trial.unittest import SynchronousTestCase

import txetcd
from test.test_layers import MODULES

TXAIOETCD = {
    "Client": "reactor url pool timeout connect_timeout",
    "Client.status": "timeout",
    "Client.set": "key value lease return_previous timeout",
    "Client.get": "key range_end count_only keys_only limit max_create_revision min_create_revision min_mod_revision"
    " revision serializable sort_order sort_target timeout",
    "Client.delete": "key return_previous timeout",
    "Client.watch": "keys on_watch filters start_revision return_previous",
    "Client.submit": "txn timeout",
    "Client.lease": "time_to_live lease_id timeout",
    "KeySet": "key range_end prefix",
    "KeyValue": "key value version create_revision mod_revision",
    "Header": "raft_term revision cluster_id member_id",
    "Status": "version db_size leader header raft_term raft_index",
    "Deleted": "deleted header previous",
    "Revision": "header previous",
    "Comp": "key compare",
    "CompValue": "key compare value",
    "CompVersion": "key compare version",
    "CompCreated": "key compare create_revision",
    "CompModified": "key compare mod_revision",
    "Op": "",
    "OpGet": "key count_only keys_only limit max_create_revision min_create_revision min_mod_revision revision"
    " serializable sort_order sort_target",
    "OpSet": "key value lease return_previous",
    "OpDel": "key return_previous",
    "Transaction": "compare success failure",
    "Error": "code message",
    "Failed": "header responses",
    "Success": "header responses",
    "Expired": "",
    "Range": "kvs header count",
    # made by Client.lease() and never by its users: what counts is what it can do
    "Lease.remaining": "",
    "Lease.keys": "",
    "Lease.refresh": "",
    "Lease.revoke": "",
}
"""What txaioetcd offers and this package, too, with the parameters in their order."""

Definition = Union[ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef]


def positional(name: str) -> list[str]:
    """The parameters of a public callable that can be given by position."""
    called: Any = txetcd
    for part in name.split("."):
        called = getattr(called, part)
    parameters = inspect.signature(called).parameters.values()
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]


def public_definitions(module: str, body: list[ast.stmt]) -> Iterator[tuple[str, Definition]]:
    """Every public class, function and method, with its dotted name."""
    for node in body:
        if not isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) or node.name.startswith("_"):
            continue
        yield f"{module}.{node.name}", node
        if isinstance(node, ast.ClassDef):
            yield from public_definitions(f"{module}.{node.name}", node.body)


def returns_deferred(verb: Any) -> bool:
    returns = inspect.signature(verb).return_annotation if callable(verb) else ""
    return str(returns).partition("[")[0].endswith("Deferred")


def says_what_it_gives(text: str) -> bool:
    """What a Deferred fires with; or that it is like another one, which says so."""
    return re.search("fires with|a Deferred as of :meth:|fires, when", " ".join(text.split())) is not None


class PublicNamesTests(SynchronousTestCase):
    def test_sorted(self) -> None:
        self.assertEqual(sorted(set(txetcd.__all__)), txetcd.__all__)

    def test_all_there_is(self) -> None:
        """What is there and is no module is listed; what is listed is there."""
        there = {
            name for name, value in vars(txetcd).items() if name[0] != "_" and not isinstance(value, ModuleType)
        }
        self.assertEqual(there | {"errors"}, set(txetcd.__all__))

    def test_written_in_the_source(self) -> None:
        """The list is a list of texts, for readers and for type checkers."""
        tree = ast.parse(MODULES["txetcd"].read_text(encoding="utf-8"))
        (value,) = [
            node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        ]
        self.assertEqual(txetcd.__all__, ast.literal_eval(value))

    def test_documented(self) -> None:
        for name in txetcd.__all__:
            offered = getattr(txetcd, name)
            written = offered.__doc__ if inspect.isfunction(offered) else vars(offered).get("__doc__")
            self.assertTrue((written or "").strip(), name)

    def test_version(self) -> None:
        self.assertRegex(txetcd.__version__, r"^\d+\.\d+\.\d+$")


class DocstringTests(SynchronousTestCase):
    def test_every_public_definition(self) -> None:
        bare = []
        for module, path in MODULES.items():
            tree = ast.parse(path.read_text(encoding="utf-8"))
            bare += [] if ast.get_docstring(tree) or not tree.body else [module]
            bare += [name for name, node in public_definitions(module, tree.body) if not ast.get_docstring(node)]
        self.assertEqual([], bare)

    def test_what_a_deferred_fires_with(self) -> None:
        for cls, least in ((txetcd.Client, 12), (txetcd.Cluster, 6), (txetcd.Maintenance, 8), (txetcd.Auth, 15)):
            verbs = {name: verb for name, verb in vars(cls).items() if name[0] != "_" and returns_deferred(verb)}
            self.assertGreater(len(verbs), least)
            self.assertEqual([], [name for name, verb in verbs.items() if not says_what_it_gives(verb.__doc__)])


class TxaioetcdTests(SynchronousTestCase):
    """Its users change one import."""

    def test_every_name_is_there(self) -> None:
        names = {name.partition(".")[0] for name in TXAIOETCD}
        self.assertEqual(set(), names - set(txetcd.__all__))
        self.assertEqual(23, len(names))

    def test_positional_parameters(self) -> None:
        for name, parameters in TXAIOETCD.items():
            wanted = parameters.split()
            self.assertEqual(wanted, positional(name)[: len(wanted)], name)

    def test_parameters_that_need_not_be_given(self) -> None:
        """What could be left out there can be left out here."""
        header = txetcd.Header(2, 4, 1, 3)
        self.assertEqual("single", txetcd.KeySet(b"k").type)
        self.assertEqual("range", txetcd.KeySet(b"k", b"l").type)
        self.assertEqual(0, txetcd.KeyValue(b"k", b"v").mod_revision)
        self.assertEqual([], txetcd.Deleted(0, header).previous)
        self.assertIsNone(txetcd.Revision(header).previous)
        self.assertEqual((), txetcd.Transaction().compare)
        self.assertEqual("lease expired", txetcd.Expired().message)

    def test_lease(self) -> None:
        """What is known of a lease is there under the same names."""
        documented = inspect.getdoc(txetcd.Lease) or ""
        for attribute in ("lease_id", "time_to_live", "header"):
            self.assertIn(f":ivar {attribute}:", documented)

    def test_constants(self) -> None:
        self.assertEqual(("==", "!=", ">", "<"), txetcd.Comp.OPERATORS)
        self.assertEqual({"KEY", "VERSION", "CREATE", "MOD", "VALUE"}, set(txetcd.OpGet.SORT_TARGETS))
        self.assertEqual({"NONE", "ASCEND", "DESCEND"}, set(txetcd.OpGet.SORT_ORDERS))

    def test_errors_are_runtime_errors(self) -> None:
        for error in (txetcd.Error, txetcd.Failed, txetcd.Expired):
            self.assertTrue(issubclass(error, RuntimeError), error)
