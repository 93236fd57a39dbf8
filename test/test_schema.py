"""
The table of messages and calls: that it is consistent, that it fits our classes, and that it says what etcd says.
"""

from __future__ import annotations

import inspect
from collections import Counter
from operator import attrgetter
from typing import Any, Union

import attrs
from twisted.trial.unittest import SynchronousTestCase

from test.recordings import VERSIONS, load
from txetcd import _messages, ops, values
from txetcd import _schema as schema
from txetcd._schema import CHOICES, ENUMS, MESSAGES, RPCS, SCALARS, Field, Message
from txetcd.keyset import KeySet

# service, path, request (without "Request"), response (without "Response"), kind of the call: U for one answer, S for
# a stream, R for one that may be repeated (the lists of etcd's Go client, retry.go)
CALLS = """
KV.Range                    kv/range                          Range                    Range                    UR
KV.Put                      kv/put                            Put                      Put                      U
KV.DeleteRange              kv/deleterange                    DeleteRange              DeleteRange              U
KV.Txn                      kv/txn                            Txn                      Txn                      U
KV.Compact                  kv/compaction                     Compaction               Compaction               U
KV.RangeStream              -                                 Range                    RangeStream              S
Watch.Watch                 watch                             Watch                    Watch                    S
Lease.LeaseGrant            lease/grant                       LeaseGrant               LeaseGrant               UR
Lease.LeaseRevoke           lease/revoke                      LeaseRevoke              LeaseRevoke              UR
Lease.LeaseKeepAlive        lease/keepalive                   LeaseKeepAlive           LeaseKeepAlive           SR
Lease.LeaseTimeToLive       lease/timetolive                  LeaseTimeToLive          LeaseTimeToLive          UR
Lease.LeaseLeases           lease/leases                      LeaseLeases              LeaseLeases              UR
Cluster.MemberAdd           cluster/member/add                MemberAdd                MemberAdd                U
Cluster.MemberRemove        cluster/member/remove             MemberRemove             MemberRemove             U
Cluster.MemberUpdate        cluster/member/update             MemberUpdate             MemberUpdate             U
Cluster.MemberList          cluster/member/list               MemberList               MemberList               UR
Cluster.MemberPromote       cluster/member/promote            MemberPromote            MemberPromote            U
Maintenance.Alarm           maintenance/alarm                 Alarm                    Alarm                    UR
Maintenance.Status          maintenance/status                Status                   Status                   UR
Maintenance.Defragment      maintenance/defragment            Defragment               Defragment               U
Maintenance.Hash            maintenance/hash                  Hash                     Hash                     UR
Maintenance.HashKV          maintenance/hashkv                HashKV                   HashKV                   UR
Maintenance.Snapshot        maintenance/snapshot              Snapshot                 Snapshot                 SR
Maintenance.MoveLeader      maintenance/transfer-leadership   MoveLeader               MoveLeader               UR
Maintenance.Downgrade       maintenance/downgrade             Downgrade                Downgrade                U
Auth.AuthEnable             auth/enable                       AuthEnable               AuthEnable               U
Auth.AuthDisable            auth/disable                      AuthDisable              AuthDisable              U
Auth.AuthStatus             auth/status                       AuthStatus               AuthStatus               U
Auth.Authenticate           auth/authenticate                 Authenticate             Authenticate             U
Auth.UserAdd                auth/user/add                     AuthUserAdd              AuthUserAdd              U
Auth.UserGet                auth/user/get                     AuthUserGet              AuthUserGet              UR
Auth.UserList               auth/user/list                    AuthUserList             AuthUserList             UR
Auth.UserDelete             auth/user/delete                  AuthUserDelete           AuthUserDelete           U
Auth.UserChangePassword     auth/user/changepw                AuthUserChangePassword   AuthUserChangePassword   U
Auth.UserGrantRole          auth/user/grant                   AuthUserGrantRole        AuthUserGrantRole        U
Auth.UserRevokeRole         auth/user/revoke                  AuthUserRevokeRole       AuthUserRevokeRole       U
Auth.RoleAdd                auth/role/add                     AuthRoleAdd              AuthRoleAdd              U
Auth.RoleGet                auth/role/get                     AuthRoleGet              AuthRoleGet              UR
Auth.RoleList               auth/role/list                    AuthRoleList             AuthRoleList             UR
Auth.RoleDelete             auth/role/delete                  AuthRoleDelete           AuthRoleDelete           U
Auth.RoleGrantPermission    auth/role/grant                   AuthRoleGrantPermission  AuthRoleGrantPermission  U
Auth.RoleRevokePermission   auth/role/revoke                  AuthRoleRevokePermission AuthRoleRevokePermission U
Lock.Lock                   lock/lock                         Lock                     Lock                     U
Lock.Unlock                 lock/unlock                       Unlock                   Unlock                   U
Election.Campaign           election/campaign                 Campaign                 Campaign                 U
Election.Proclaim           election/proclaim                 Proclaim                 Proclaim                 U
Election.Leader             election/leader                   Leader                   Leader                   U
Election.Observe            election/observe                  Leader                   Leader                   S
Election.Resign             election/resign                   Resign                   Resign                   U
"""

PACKAGES = {"Lock": "v3lockpb", "Election": "v3electionpb"}

KEYS = KeySet(b"a", b"b")

SAMPLES: dict[type[Any], Any] = {
    ops.CompValue: ops.CompValue(KEYS, "==", b"v"),
    ops.CompVersion: ops.CompVersion(KEYS, "==", 1),
    ops.CompCreated: ops.CompCreated(KEYS, "==", 1),
    ops.CompModified: ops.CompModified(KEYS, "==", 1),
    ops.CompLease: ops.CompLease(KEYS, "==", 1),
    ops.OpGet: ops.OpGet(KEYS),
    ops.OpSet: ops.OpSet(b"k", b"v"),
    ops.OpDel: ops.OpDel(KEYS),
    ops.OpTxn: ops.OpTxn(ops.Transaction()),
    ops.Transaction: ops.Transaction(),
    values.Event: values.Event("PUT", values.KeyValue(b"k")),
}

REQUIRED: dict[str, Any] = {
    "int": 1,
    "bytes": b"k",
    "str": "s",
    "tuple[str, ...]": ("s",),
    "list[KeyValue]": [],
    "list[Response]": [],
    "KeySet": KEYS,
    "KeyValue": values.KeyValue(b"k"),
    "Header": values.Header(),
    "Permission": _messages.Permission(),
    "Optional[LeaderKey]": None,
}
"""For the annotation of an attribute that must be given, something to give."""

PYTHON_TYPES = {"bytes": bytes, "string": str, "bool": bool, "int32": int, "uint32": int, "int64": int, "uint64": int}

NOT_SENT = {
    # it is sent as `sent_sort_order`
    ops.OpGet: {"sort_order"},
    # it is sent as `result`
    ops.Comp: {"compare"},
    # it is seen from the operations
    ops.Transaction: {"depth"},
}


def sample(cls: type[Any]) -> Any:
    """An instance of a class that stands for a message."""
    if cls in SAMPLES:
        return SAMPLES[cls]
    required = [field for field in attrs.fields(cls) if field.default is attrs.NOTHING]
    return cls(*[REQUIRED[str(field.type)] for field in required])


def slots(cls: type[Any]) -> set[str]:
    """The names of what an instance of a class holds."""
    names = (getattr(parent, "__slots__", ()) for parent in cls.__mro__)
    return {name for series in names for name in series} - {"__weakref__"}


def names_of_types() -> set[str]:
    return {message.name for message in MESSAGES} | {choice.name for choice in CHOICES}


def all_fields() -> list[tuple[str, Field]]:
    fields = [(message.name, field) for message in MESSAGES for field in message.fields]
    return fields + [(choice.name, field) for choice in CHOICES for _, field in choice.choices]


class MessageTests(SynchronousTestCase):
    def test_fields_are_unique(self) -> None:
        groups = [(message.name, message.fields) for message in MESSAGES]
        groups += [(choice.name, tuple(field for _, field in choice.choices)) for choice in CHOICES]
        for name, fields in groups:
            for key in ("name", "number"):
                counted = Counter(getattr(field, key) for field in fields)
                self.assertEqual(len(fields), len(counted), (name, key))

    def test_one_entry_for_each_class(self) -> None:
        counted = Counter((message.name, message.cls) for message in MESSAGES)
        self.assertEqual([], [key for key, count in counted.items() if count > 1])

    def test_classes_of_one_message_agree(self) -> None:
        """A message that several classes stand for has one number, type and kind for each name."""
        found: dict[tuple[str, str], set[tuple[Any, ...]]] = {}
        for message, field in all_fields():
            found.setdefault((message, field.name), set()).add((field.number, field.type, field.repeated, field.oneof))
        self.assertEqual([], [key for key, kinds in found.items() if len(kinds) > 1])

    def test_numbers(self) -> None:
        self.assertEqual([], [(message, f) for message, f in all_fields() if not 1 <= f.number < 19000])

    def test_every_type_is_known(self) -> None:
        known = SCALARS | set(ENUMS) | names_of_types()
        self.assertEqual([], [(message, f) for message, f in all_fields() if f.type not in known])

    def test_no_name_means_two_things(self) -> None:
        kinds = [SCALARS, set(ENUMS), {message.name for message in MESSAGES}, {choice.name for choice in CHOICES}]
        self.assertEqual(sum(map(len, kinds)), len(set().union(*kinds)))

    def test_header_comes_first(self) -> None:
        """Every answer to a call has one, but for the pieces of a stream of keys, which have it within."""
        for rpc in RPCS.values():
            for message in messages_named(rpc.response):
                first = message.fields[0]
                if message.name != "RangeStreamResponse":
                    self.assertEqual(("header", 1, "ResponseHeader"), (first.name, first.number, first.type), rpc)

    def test_attributes_are_there(self) -> None:
        """What the table says is read from our classes can be read, and is of that type."""
        for message in MESSAGES:
            for field in message.fields:
                value = attrgetter(field.attribute)(sample(message.cls))
                if field.repeated:
                    self.assertIsInstance(value, (list, tuple), (message.name, field))
                elif field.type in PYTHON_TYPES and value is not None:
                    self.assertIs(PYTHON_TYPES[field.type], type(value), (message.name, field))
                elif field.type in ENUMS and value is not None:
                    self.assertIn(value.upper(), ENUMS[field.type], (message.name, field))

    def test_nothing_of_ours_is_left_out(self) -> None:
        """Every attribute of our classes is in the table."""
        for message in MESSAGES:
            left = set().union(*(names for cls, names in NOT_SENT.items() if issubclass(message.cls, cls)))
            in_table = {field.attribute.partition(".")[0] for field in message.fields}
            self.assertEqual(set(), slots(message.cls) - left - in_table, message.name)

    def test_every_class_is_in_the_table(self) -> None:
        """No message was written for nothing."""
        used = {message.cls for message in MESSAGES}
        written = {cls for cls in vars(_messages).values() if inspect.isclass(cls) and attrs.has(cls)}
        self.assertEqual(set(), written - used)

    def test_choices(self) -> None:
        """Each choice leads to the message that its class stands for, and is by class."""
        pairs = {(message.name, message.cls) for message in MESSAGES}
        for choice in CHOICES:
            for cls, field in choice.choices:
                self.assertIn((field.type, cls), pairs, choice.name)
            self.assertEqual(len(choice.choices), len({cls for cls, _ in choice.choices}))

    def test_oneof(self) -> None:
        """The operands of comparisons are sent even if they are zero, and nothing else is."""
        sent = {(message, field.name) for message, field in all_fields() if field.oneof}
        operands = ("version", "create_revision", "mod_revision", "value", "lease")
        self.assertEqual({("Compare", operand) for operand in operands}, sent)

    def test_a_line(self) -> None:
        (field,) = [field for message, field in all_fields() if (message, field.name) == ("Member", "peerURLs")]
        self.assertEqual(Field("peerURLs", 3, "string", "peer_urls", True, False), field)


def messages_named(name: str) -> list[Message]:
    return [message for message in MESSAGES if message.name == name]


class EnumTests(SynchronousTestCase):
    def test_numbers_of_their_names(self) -> None:
        """The order of the names is that of ``rpc.proto``; here is the last of each."""
        for enum, name, number in (
            ("SortOrder", "DESCEND", 2),
            ("SortTarget", "VALUE", 4),
            ("CompareResult", "NOT_EQUAL", 3),
            ("CompareTarget", "LEASE", 4),
            ("FilterType", "NODELETE", 1),
            ("EventType", "DELETE", 1),
            ("AlarmAction", "DEACTIVATE", 2),
            ("AlarmType", "CORRUPT", 2),
            ("DowngradeAction", "CANCEL", 2),
            ("PermissionType", "READWRITE", 2),
        ):
            self.assertEqual(number, ENUMS[enum].index(name))
            self.assertEqual(number + 1, len(set(ENUMS[enum])), enum)

    def test_operations_offer_the_same(self) -> None:
        self.assertEqual(ENUMS["SortOrder"], ops.OpGet.SORT_ORDERS)
        self.assertEqual(ENUMS["SortTarget"], ops.OpGet.SORT_TARGETS)
        comps = (ops.CompValue, ops.CompVersion, ops.CompCreated, ops.CompModified, ops.CompLease)
        self.assertEqual(set(ENUMS["CompareTarget"]), {comp.target for comp in comps})
        results = {ops.CompVersion(b"k", operator, 1).result for operator in ops.Comp.OPERATORS}
        self.assertEqual(set(ENUMS["CompareResult"]), results)

    def test_defaults_are_zero(self) -> None:
        """What the server leaves out is the first name."""
        for message in MESSAGES:
            fields = {field.name: field for field in attrs.fields(message.cls)} if attrs.has(message.cls) else {}
            for field in message.fields:
                if field.type in ENUMS and not field.repeated and field.attribute in fields:
                    default: Union[str, Any] = fields[field.attribute].default
                    self.assertIn(default, (ENUMS[field.type][0], attrs.NOTHING), message.name)


class RpcTests(SynchronousTestCase):
    def test_calls(self) -> None:
        """Every call of etcd, where it is served, what goes in, what comes out, and what may be repeated."""
        table = {
            rpc.name: " ".join(
                (
                    rpc.name,
                    rpc.path[len("/v3/") :] if rpc.path else "-",
                    rpc.request[: -len("Request")],
                    rpc.response[: -len("Response")],
                    ("S" if rpc.is_stream else "U") + ("R" if rpc.is_repeatable else ""),
                )
            )
            for rpc in RPCS.values()
        }
        wanted = {line.split()[0]: " ".join(line.split()) for line in CALLS.strip().splitlines()}
        self.assertEqual(wanted, table)

    def test_paths(self) -> None:
        paths = [rpc.path for rpc in RPCS.values() if rpc.path]
        self.assertEqual(len(paths), len(set(paths)))
        self.assertEqual([], [path for path in paths if not path.startswith("/v3/") or path.endswith("/")])

    def test_native_methods(self) -> None:
        for rpc in RPCS.values():
            service, _, method = rpc.name.partition(".")
            self.assertEqual(f"/{PACKAGES.get(service, 'etcdserverpb')}.{service}/{method}", rpc.method)

    def test_messages_are_known(self) -> None:
        for rpc in RPCS.values():
            self.assertTrue(rpc.request.endswith("Request") and rpc.response.endswith("Response"), rpc)
            self.assertLessEqual({rpc.request, rpc.response}, names_of_types(), rpc)

    def test_one_class_for_each_answer(self) -> None:
        for rpc in RPCS.values():
            self.assertEqual(1, len(messages_named(rpc.response)), rpc)

    def test_names_of_the_module(self) -> None:
        """Each call has a constant, and each constant is a call of its own."""
        constants = [rpc for name, rpc in vars(schema).items() if name.isupper() and isinstance(rpc, schema.Rpc)]
        self.assertEqual(sorted(RPCS), sorted(rpc.name for rpc in constants))

    def test_every_path_that_a_server_knows(self) -> None:
        """The paths that were recorded with success are those of the table, and other spellings of some."""
        aliases = {
            "/v3beta/kv/range", "/v3/kv/lease/revoke", "/v3/kv/lease/timetolive", "/v3/kv/lease/leases",
            "/version", "/health", "/health?serializable=true", "/livez", "/readyz",
        }  # fmt: skip
        served = {recording.path for version in VERSIONS for recording in load(version) if recording.status == 200}
        paths = {rpc.path for rpc in RPCS.values()}
        self.assertEqual(aliases, served - paths)
        # to promote a learner takes one that has caught up with its leader
        self.assertEqual({None, "/v3/cluster/member/promote"}, paths - served)
