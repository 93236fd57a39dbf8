"""
The gateway's codec: what it sends, what it reads, what it refuses, from tables.
"""

from __future__ import annotations

import gc
import traceback
from typing import Any, Optional

from twisted.trial.unittest import SynchronousTestCase

from test.test_ops import nested
from test.test_protobuf import innermost, with_little_stack
from txetcd import _json
from txetcd import _messages as m
from txetcd._answers import flaw_of
from txetcd._garbage import LARGE
from txetcd._json import _base64, decode, decode_line, encode, error_of
from txetcd._quotes import Quotes
from txetcd._schema import MESSAGES, RPCS
from txetcd.errors import (
    CommonNameIgnored,
    Error,
    HostNotAllowed,
    ProtocolViolation,
    RequestCanceled,
    RequestTooLarge,
    Unavailable,
    Unimplemented,
)
from txetcd.keyset import KeySet
from txetcd.ops import MAX_DEPTH, CompValue, CompVersion, OpDel, OpGet, OpSet, OpTxn, Transaction
from txetcd.values import (
    Alarm,
    AuthStatus,
    Deleted,
    DowngradeInfo,
    Event,
    HashKV,
    Header,
    KeyValue,
    Member,
    Outcome,
    Range,
    Revision,
    Status,
)

# --- requests

ENCODED: list[tuple[str, Any, str]] = [
    ("KV.Range", OpGet(b"k"), '{"key":"aw=="}'),
    ("KV.Range", OpGet(b"\xfb\xff\xbe"), '{"key":"+/++"}'),
    ("KV.Range", OpGet(b"k", limit=2**63 - 1), '{"key":"aw==","limit":"9223372036854775807"}'),
    ("KV.Range", OpGet(b"k", sort_order="ASCEND", sort_target="KEY"), '{"key":"aw==","sort_target":"KEY"}'),
    ("KV.Range", OpGet(b"k", sort_order="NONE"), '{"key":"aw==","sort_order":"NONE"}'),
    ("KV.Put", OpSet(b"k", b""), '{"key":"aw=="}'),
    ("KV.Put", OpSet(b"k", b"v", -5), '{"key":"aw==","value":"dg==","lease":"-5"}'),
    ("KV.DeleteRange", OpDel(KeySet.all()), '{"key":"AA==","range_end":"AA=="}'),
    ("KV.Txn", Transaction(), "{}"),
    ("KV.Txn", Transaction([], [OpTxn(Transaction())]), '{"success":[{"request_txn":{}}]}'),
    (
        "KV.Txn",
        Transaction([CompValue(b"k", "!=", b"")]),
        '{"compare":[{"result":"NOT_EQUAL","target":"VALUE","key":"aw==","value":""}]}',
    ),
    (
        "KV.Txn",
        Transaction([CompVersion(b"k", "==", 0)]),
        '{"compare":[{"result":"EQUAL","target":"VERSION","key":"aw==","version":"0"}]}',
    ),
    ("Watch.Watch", m.WatchCreateRequest(KeySet(b"k")), '{"create_request":{"key":"aw=="}}'),
    ("Watch.Watch", m.WatchCancelRequest(0), '{"cancel_request":{}}'),
    ("Watch.Watch", m.WatchProgressRequest(), '{"progress_request":{}}'),
    ("Auth.Authenticate", m.AuthenticateRequest("älice\n", '"\u2028'),
     r'{"name":"\u00e4lice\n","password":"\"\u2028"}'),
    ("Auth.UserAdd", m.AuthUserAddRequest("a", options=m.UserAddOptions(True)),
     '{"name":"a","options":{"no_password":true}}'),
    ("Auth.RoleGrantPermission", m.AuthRoleGrantPermissionRequest("r", m.Permission("WRITE", b"k")),
     '{"name":"r","perm":{"permType":"WRITE","key":"aw=="}}'),
    ("Election.Proclaim", m.ProclaimRequest(None, b"v"), '{"value":"dg=="}'),
    ("Maintenance.MoveLeader", m.MoveLeaderRequest(2**64 - 1), '{"targetID":"18446744073709551615"}'),
]  # fmt: skip


class EncodeTests(SynchronousTestCase):
    def test_table(self) -> None:
        for name, request, wanted in ENCODED:
            self.assertEqual(wanted, encode(RPCS[name], request).decode("ascii"))

    def test_requests_without_a_field(self) -> None:
        for rpc in RPCS.values():
            if m.Empty in [message.cls for message in MESSAGES if message.name == rpc.request]:
                self.assertEqual(b"{}", encode(rpc, m.Empty()), rpc.name)

    def test_one_line_of_ascii(self) -> None:
        body = encode(RPCS["Auth.Authenticate"], m.AuthenticateRequest("a\r\n\u2028\U0001f600", "\x00\x7f"))
        self.assertTrue(body.isascii() and body.decode().isprintable(), body)


# --- answers

ZERO_KV = KeyValue(b"")

OMISSIONS: list[tuple[str, str, Any]] = [
    # no header: what the alarms of 3.4 are like; the rest is what the gateways leave out when it is zero
    ("KV.Range", "{}", Range([], Header(), 0, False)),
    ("KV.Range", '{"header":{}}', Range([], Header(), 0, False)),
    ("KV.Range", '{"header":{"revision":"3"}}', Range([], Header(revision=3), 0, False)),
    ("KV.Range", '{"kvs":[{"key":"aw=="}]}', Range([KeyValue(b"k", b"", 0, 0, 0, 0)])),
    ("KV.Range", '{"kvs":[{}]}', Range([ZERO_KV])),
    ("KV.Put", "{}", Revision(Header(), None)),
    ("KV.Put", '{"prev_kv":{}}', Revision(Header(), ZERO_KV)),
    ("KV.DeleteRange", "{}", Deleted(0, Header(), [])),
    ("KV.Txn", "{}", Outcome(False, Header(), [])),
    ("KV.Txn", '{"responses":[{"response_range":{}},{"response_put":{}},{"response_delete_range":{}},'
               '{"response_txn":{}}]}', Outcome(False, Header(), [Range([]), Revision(), Deleted(), Outcome()])),
    ("KV.Txn", '{"responses":[{"response_put":{"header":{"revision":"4"}}},{"response_txn":{"header":{}}}]}',
     Outcome(False, Header(), [Revision(Header(revision=4)), Outcome()])),
    ("KV.Compact", "{}", m.Acknowledgement(Header())),
    ("Lease.LeaseGrant", "{}", m.LeaseGrantResponse(Header(), 0, 0, "")),
    ("Lease.LeaseRevoke", "{}", m.Acknowledgement()),
    ("Lease.LeaseTimeToLive", '{"ID":"404","TTL":"-1"}', m.LeaseTimeToLiveResponse(Header(), 404, -1, 0, [])),
    ("Lease.LeaseLeases", "{}", m.LeaseLeasesResponse(Header(), [])),
    ("Lease.LeaseLeases", '{"leases":[{}]}', m.LeaseLeasesResponse(Header(), [m.LeaseStatus(0)])),
    ("Cluster.MemberList", '{"members":[{}]}', m.MemberListResponse(Header(), [Member(0, "", [], [], False)])),
    ("Cluster.MemberAdd", "{}", m.MemberAddResponse(Header(), None, [])),
    ("Maintenance.Alarm", "{}", m.AlarmResponse(Header(), [])),
    ("Maintenance.Alarm", '{"alarms":[{}]}', m.AlarmResponse(Header(), [Alarm(0, "NONE")])),
    ("Maintenance.Status", "{}", Status("", 0, 0, Header(), 0, 0, 0, [], 0, False, "", 0, None)),
    ("Maintenance.Status", '{"downgradeInfo":{}}',
     Status("", 0, 0, Header(), 0, 0, downgrade_info=DowngradeInfo(False, ""))),
    ("Maintenance.HashKV", "{}", HashKV(0, 0, 0, Header())),
    ("Auth.AuthStatus", "{}", AuthStatus(False, 0, Header())),
    ("Auth.RoleGet", '{"perm":[{}]}', m.AuthRoleGetResponse(Header(), [m.Permission("READ", b"", b"")])),
    ("Election.Campaign", "{}", m.CampaignResponse(Header(), None)),
    ("Election.Leader", '{"kv":{}}', m.LeaderResponse(Header(), ZERO_KV)),
    ("Watch.Watch", '{"result":{}}', m.WatchResponse(Header(), 0, False, False, 0, "", False, [])),
    ("Watch.Watch", '{"result":{"events":[{"kv":{}}]}}', m.WatchResponse(events=[Event("PUT", ZERO_KV, None)])),
    ("Lease.LeaseKeepAlive", '{"result":{"ID":"5"}}', m.LeaseKeepAliveResponse(Header(), 5, 0)),
    ("Maintenance.Snapshot", '{"result":{}}', m.SnapshotResponse(Header(), 0, b"", "")),
]  # fmt: skip

# null says the same as nothing
NULLS: list[tuple[str, str, Any]] = [
    ("KV.Range", '{"header":null,"kvs":null,"more":null,"count":null}', Range([])),
    ("KV.Range", '{"kvs":[{"key":null,"value":null,"lease":null}]}', Range([ZERO_KV])),
    ("KV.Put", '{"prev_kv":null}', Revision()),
    ("Maintenance.Status", '{"version":null,"errors":null,"downgradeInfo":null,"isLearner":null}',
     Status("", 0, 0, Header(), 0, 0)),
    ("Maintenance.Alarm", '{"alarms":[{"alarm":null}]}', m.AlarmResponse(Header(), [Alarm(0, "NONE")])),
]  # fmt: skip

LENIENT: list[tuple[str, str, Any]] = [
    # integers as numbers, whatever their size
    ("KV.Range", '{"count":18446744073709551615}', Range([], count=2**64 - 1)),
    ("KV.Range", '{"count":"-9223372036854775808"}', Range([], count=-(2**63))),
    # what a newer server may add
    ("KV.Range", '{"count":"1","brand_new":{"x":[1]},"header":{"brand_new":1}}', Range([], count=1)),
    ("Maintenance.Alarm", '{"alarms":[{"alarm":"NEW"}]}', m.AlarmResponse(alarms=[Alarm(0, "NEW")])),
    ("Maintenance.Alarm", '{"alarms":[{"alarm":7}]}', m.AlarmResponse(alarms=[Alarm(0, "7")])),
    # spaces of protojson, and the end of the line
    ("KV.Range", ' {"count" :  "1" } \n', Range([], count=1)),
]

VIOLATIONS: list[tuple[str, str, str]] = [
    ("KV.Range", "", "not JSON: ''"),
    ("KV.Range", "<html>\n <b>Hi</b>", "not JSON: '<html> <b>Hi</b>'"),
    ("KV.Range", "x" * 500, "not JSON: '" + "x" * 120 + "...'"),
    ("KV.Range", '{"count":"1"} {}', "not JSON: '{\"count\":\"1\"} {}'"),
    ("KV.Range", "null", "not a JSON object: 'null'"),
    ("KV.Range", "[]", "not a JSON object: '[]'"),
    ("KV.Range", '"text"', "not a JSON object: '\"text\"'"),
    ("KV.Range", '{"header":[]}', "not a RangeResponse: '{\"header\":[]}'"),
    ("KV.Range", '{"header":false}', "not a RangeResponse: '{\"header\":false}'"),
    ("KV.Range", '{"kvs":5}', "not a RangeResponse: '{\"kvs\":5}'"),
    ("KV.Range", '{"kvs":[null]}', "not a RangeResponse: '{\"kvs\":[null]}'"),
    ("KV.Range", '{"kvs":[[]]}', "not a RangeResponse: '{\"kvs\":[[]]}'"),
    ("KV.Range", '{"count":"many"}', "not a RangeResponse: '{\"count\":\"many\"}'"),
    ("KV.Range", '{"count":""}', "not a RangeResponse: '{\"count\":\"\"}'"),
    ("KV.Range", '{"count":1.5}', "not a RangeResponse: '{\"count\":1.5}'"),
    ("KV.Range", '{"count":true}', "not a RangeResponse: '{\"count\":true}'"),
    ("KV.Range", '{"count":NaN}', "not a RangeResponse: '{\"count\":NaN}'"),
    ("KV.Range", '{"more":"true"}', "not a RangeResponse: '{\"more\":\"true\"}'"),
    ("KV.Range", '{"more":1}', "not a RangeResponse: '{\"more\":1}'"),
    ("KV.Range", '{"kvs":[{"key":5}]}', "not a RangeResponse: '{\"kvs\":[{\"key\":5}]}'"),
    ("KV.Range", '{"kvs":[{"key":"YQ"}]}', "not a RangeResponse: '{\"kvs\":[{\"key\":\"YQ\"}]}'"),
    ("KV.Range", '{"kvs":[{"key":"_-8="}]}', "not a RangeResponse: '{\"kvs\":[{\"key\":\"_-8=\"}]}'"),
    ("KV.Range", '{"kvs":[{"key":"YQ==YQ=="}]}', "not a RangeResponse: '{\"kvs\":[{\"key\":\"YQ==YQ==\"}]}'"),
    ("Maintenance.Status", '{"version":5}', "not a StatusResponse: '{\"version\":5}'"),
    ("KV.Txn", '{"responses":[{}]}', "not a TxnResponse: '{\"responses\":[{}]}'"),
    ("KV.Txn", '{"responses":[{"response_nothing":{}}]}',
     "not a TxnResponse: '{\"responses\":[{\"response_nothing\":{}}]}'"),
    ("KV.Txn", '{"responses":[{"response_put":{},"response_range":{}}]}',
     "not a TxnResponse: '{\"responses\":[{\"response_put\":{},\"response_range\":{}}]}'"),
    ("Watch.Watch", "{}", "neither a result nor an error: '{}'"),
    ("Watch.Watch", '{"error":null}', "neither a result nor an error: '{\"error\":null}'"),
    ("Watch.Watch", '{"result":null}', "not a WatchResponse: '{\"result\":null}'"),
    ("Watch.Watch", '{"result":{"events":[{}]}}', "not a WatchResponse: '{\"result\":{\"events\":[{}]}}'"),
    ("Watch.Watch", '{"resu', "not JSON: '{\"resu'"),
]  # fmt: skip


class DecodeTests(SynchronousTestCase):
    def assert_decoded(self, table: list[tuple[str, str, Any]]) -> None:
        for name, body, wanted in table:
            answer = decode(RPCS[name], 200, body.encode())
            self.assertEqual((wanted, type(wanted)), (answer, type(answer)), (name, body))

    def test_what_is_missing_is_zero(self) -> None:
        self.assert_decoded(OMISSIONS)

    def test_every_answer_can_be_empty(self) -> None:
        for rpc in RPCS.values():
            (cls,) = [message.cls for message in MESSAGES if message.name == rpc.response]
            self.assertIs(cls, type(decode(rpc, 200, b'{"result":{}}' if rpc.is_stream else b"{}")), rpc.name)

    def test_null(self) -> None:
        self.assert_decoded(NULLS)

    def test_what_is_new_does_no_harm(self) -> None:
        self.assert_decoded(LENIENT)

    def test_violations(self) -> None:
        for name, body, wanted in VIOLATIONS:
            error = self.assertRaises(ProtocolViolation, decode, RPCS[name], 200, body.encode())
            self.assertEqual(wanted, str(error))

    def test_no_cause(self) -> None:
        """What the parser says, which may quote any part of it, is not told, neither in a traceback."""
        for name, body in (
            ("KV.Range", b'{"count":"a secret"}'),
            ("KV.Range", b'{"kvs":[{"key":"a secret"}]}'),
            ("KV.Range", b'{"header":"a secret"}'),
            ("KV.Range", b'["a secret"'),
        ):
            error = self.assertRaises(ProtocolViolation, decode, RPCS[name], 200, body, Quotes("a secret"))
            told = "".join(traceback.format_exception(type(error), error, error.__traceback__))
            self.assertNotIn("a secret", f"{error!r} {error.args} {told}")
            self.assertIn("***", told)

    def test_not_utf8(self) -> None:
        error = self.assertRaises(ProtocolViolation, decode, RPCS["KV.Range"], 200, b'{"count":"\xff\xfe"}')
        self.assertEqual("not JSON: '{\"count\":\"\ufffd\ufffd\"}'", str(error))

    def test_nested_too_deep_to_parse(self) -> None:
        for body in (b"[" * 100_000, b'{"a":' * 100_000):
            self.assertRaises(ProtocolViolation, decode, RPCS["KV.Range"], 200, body)

    def test_nested_too_deep_for_us(self) -> None:
        """It can be parsed as JSON, but not be taken for transactions within transactions."""
        for depth in (50, 100, 150, 200, 250, 300, 350, 1000, 3000, 10_000):
            body = b'{"responses":[{"response_txn":' * depth + b"{}" + b"}]}" * depth
            try:
                self.assertIsInstance(decode(RPCS["KV.Txn"], 200, body), Outcome)
            except (ProtocolViolation, RecursionError) as error:
                self.assertIs(ProtocolViolation, type(error), f"{depth} deep")

    def test_answer_to_what_is_nested(self) -> None:
        """
        What is asked as deep as can be can be sent, and its answer be read, with more than a third of Python's stack
        used for other calls.
        """
        request, inner = nested(MAX_DEPTH), b'"succeeded":true,"responses":[{"response_txn":{' * MAX_DEPTH
        innermost_answer = b'"succeeded":true,"responses":[{"response_put":{}}]'
        body = b'{"header":{"revision":"5"},' + inner + innermost_answer + b"}}]" * MAX_DEPTH + b"}"

        def checked() -> Outcome:
            self.assertGreater(len(encode(RPCS["KV.Txn"], request)), 20 * MAX_DEPTH)
            outcome: Outcome = decode(RPCS["KV.Txn"], 200, body)
            self.assertIsNone(flaw_of(RPCS["KV.Txn"], request, outcome))
            return outcome

        self.assertEqual([Revision()], innermost(with_little_stack(600, checked)).responses)

    def test_nothing_but_base64(self) -> None:
        """What is not base64 is not passed over, wherever it is and however the lengths come out."""
        for text in "? YWJj? ?YWJj YW?Jj YQ==? ?YQ== YWJj\\n YWJj= YWJjYWJj? Y?W?J?j YWJj----".split():
            body = f'{{"kvs":[{{"key":"{text}"}}]}}'.encode()
            self.assertRaises(ProtocolViolation, decode, RPCS["KV.Range"], 200, body)

    def test_integers_in_plain_digits(self) -> None:
        """Python reads more as an integer than JSON has."""
        for text in ("1_000", " 5 ", "\u0663", "+5", "0x5", "5\\n"):
            body = f'{{"count":"{text}"}}'.encode()
            self.assertRaises(ProtocolViolation, decode, RPCS["KV.Range"], 200, body)

    def test_series_are_lists(self) -> None:
        """Texts and objects can be iterated over as well."""
        for name, body in (
            ("Maintenance.Status", b'{"errors":"NOSPACE"}'),
            ("Maintenance.Status", b'{"errors":{"NOSPACE":1}}'),
            ("KV.Range", b'{"kvs":{}}'),
            ("KV.Range", b'{"kvs":""}'),
        ):
            self.assertRaises(ProtocolViolation, decode, RPCS[name], 200, body)

    def test_integers_are_integers(self) -> None:
        """What JSON, or Python's reading of it, takes for a number besides."""
        numbers = (b"1e999", b"-1e999", b"Infinity", b"NaN", b"1.5", b"7.0")
        for value in (*numbers, b"true", b"[]", b'"7.0"', b'" 7"', b'""'):
            body = b'{"count":' + value + b"}"
            self.assertRaises(ProtocolViolation, decode, RPCS["KV.Range"], 200, body)

    def test_bytes_in_series(self) -> None:
        """As those that come alone: what is null is empty, and what is not base64 is wrong."""
        rpc = RPCS["Lease.LeaseTimeToLive"]
        self.assertEqual(decode(rpc, 200, b'{"keys":["a2V5",null]}').keys, [b"key", b""])
        for wrong in (b'"a2V"', b'"a2V5a2V="', b'"a2!V5"', b'"QR=="', b"7"):
            self.assertRaises(ProtocolViolation, decode, rpc, 200, b'{"keys":[' + wrong + b"]}")

    def test_large(self) -> None:
        """No garbage is collected while a large answer is decoded."""
        value = _base64(bytes(LARGE)).encode()
        seen: list[bool] = []

        def spy(*arguments: Any) -> Any:
            seen.append(gc.isenabled())
            return answer(*arguments)

        answer = _json._answer
        self.patch(_json, "_answer", spy)
        found = decode(RPCS["KV.Range"], 200, b'{"kvs":[{"key":"a2V5","value":"' + value + b'"}]}')
        self.assertEqual((len(found.kvs[0].value), seen, gc.isenabled()), (LARGE, [False], True))

    def test_integers_at_hand(self) -> None:
        """More than are kept at hand are read as well; and what is the same for a dictionary is not the same."""
        for number in [*range(3000), *range(3000)]:
            self.assertEqual(decode(RPCS["KV.Range"], 200, b'{"count":"%d"}' % number).count, number)
        self.assertEqual(decode(RPCS["KV.Range"], 200, b'{"count":1}').count, 1)
        self.assertRaises(ProtocolViolation, decode, RPCS["KV.Range"], 200, b'{"count":true}')

    def test_enums_are_names_or_numbers(self) -> None:
        for value in (b"[]", b"{}", b"true", b"1.5"):
            body = b'{"alarms":[{"alarm":' + value + b"}]}"
            self.assertRaises(ProtocolViolation, decode, RPCS["Maintenance.Alarm"], 200, body)

    def test_stream_that_is_asked_as_a_call(self) -> None:
        """The answer to a single renewal is one line of a stream."""
        rpc = RPCS["Lease.LeaseKeepAlive"]
        answer = decode(rpc, 200, b'{"result":{"ID":"5","TTL":"9"}}\n')
        self.assertEqual(m.LeaseKeepAliveResponse(Header(), 5, 9), answer)
        error = self.assertRaises(Error, decode, rpc, 200, b'{"error":{"grpc_code":14,"message":"no leader"}}')
        self.assertEqual(("NoLeader", 14), (type(error).__name__, error.code))


# --- refusals

NO_SUCH_CALL = "the server does not know this call: it is too old, or the URL has a path too many"

REFUSED: list[tuple[int, str, str, Optional[int], str]] = [
    # up to 3.5, from 3.6; in a stream up to 3.5, from 3.6
    (400, '{"error":"etcdserver: key is not provided","message":"etcdserver: key is not provided","code":3}',
     "EmptyKey", 3, "etcdserver: key is not provided"),
    (400, '{"code":3, "message":"etcdserver: key is not provided", "details":[]}',
     "EmptyKey", 3, "etcdserver: key is not provided"),
    (503, '{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader","http_status":"Unavailable"}}',
     "NoLeader", 14, "etcdserver: no leader"),
    (503, '{"error":{"code":14,"message":"etcdserver: no leader"}}', "NoLeader", 14, "etcdserver: no leader"),
    # the text is in `error` alone
    (400, '{"error":"etcdserver: key not found","code":3}', "KeyNotFound", 3, "etcdserver: key not found"),
    # the status does not count
    (200, '{"code":9,"message":"etcdserver: not leader"}', "NotLeader", 9, "etcdserver: not leader"),
    (412, '{"code":9,"message":"etcdserver: not leader"}', "NotLeader", 9, "etcdserver: not leader"),
    (404, '{"code":5,"message":"etcdserver: member not found"}', "MemberNotFound", 5, "etcdserver: member not found"),
    # no such call: the text of the first gateway, the JSON of the second, the code of the server
    (404, "Not Found", "Unimplemented", 12, f"{NO_SUCH_CALL} (HTTP 404: 'Not Found')"),
    (404, '{"code":5,"message":"Not Found","details":[]}', "Unimplemented", 5, NO_SUCH_CALL),
    (501, '{"code":12,"message":"Method Not Allowed"}', "Unimplemented", 12, "Method Not Allowed"),
    # no gateway: what etcd says at any other path, on the port for its peers, and with --enable-grpc-gateway=false
    (404, "404 page not found\n", "Unimplemented", 12,
     "no etcd gateway there: a wrong path, a port for peers, or --enable-grpc-gateway=false? "
     "(HTTP 404: '404 page not found')"),
    # something that is no etcd
    (404, "<html>404 Not Found</html>", "ProtocolViolation", None,
     "no etcd gateway there? HTTP 404: '<html>404 Not Found</html>'"),
    (404, '{"detail":"Not Found"}', "ProtocolViolation", None,
     "no etcd gateway there? HTTP 404: '{\"detail\":\"Not Found\"}'"),
    (404, '{"code":404,"message":"Not Found"}', "ProtocolViolation", None,
     "no etcd gateway there? HTTP 404: '{\"code\":404,\"message\":\"Not Found\"}'"),
    (404, "", "ProtocolViolation", None, "no etcd gateway there? HTTP 404: ''"),
    (405, "<html>", "ProtocolViolation", None, "no etcd gateway there? HTTP 405: '<html>'"),
    # TLS, where http:// was given: Go, nginx, Apache, Tomcat
    (400, "Client sent an HTTP request to an HTTPS server.\n", "TLSFailed", None,
     "the server speaks TLS there: use https:// (HTTP 400: 'Client sent an HTTP request to an HTTPS server.')"),
    (400, "<title>400 The plain HTTP request was sent to HTTPS port</title>", "TLSFailed", None,
     "the server speaks TLS there: use https:// "
     "(HTTP 400: '<title>400 The plain HTTP request was sent to HTTPS port</title>')"),
    (400, "You're speaking plain HTTP to an SSL-enabled server port.", "TLSFailed", None,
     "the server speaks TLS there: use https:// "
     "(HTTP 400: \"You're speaking plain HTTP to an SSL-enabled server port.\")"),
    (400, "This combination of host and port requires TLS.", "TLSFailed", None,
     "the server speaks TLS there: use https:// (HTTP 400: 'This combination of host and port requires TLS.')"),
    (400, "Bad Request", "ProtocolViolation", None, "no etcd gateway there? HTTP 400: 'Bad Request'"),
    (500, "HTTPS port", "ProtocolViolation", None, "no etcd gateway there? HTTP 500: 'HTTPS port'"),
    # what stands in between
    (413, "<html>", "RequestTooLarge", 8, "the request is too large (HTTP 413: '<html>')"),
    (421, "Misdirected", "HostNotAllowed", None, "the server does not serve this host name (HTTP 421: 'Misdirected')"),
    (502, "", "Unavailable", 14, "bad gateway (HTTP 502: '')"),
    (503, "busy", "Unavailable", 14, "service unavailable (HTTP 503: 'busy')"),
    (504, "<html>", "Unavailable", 14, "gateway timeout (HTTP 504: '<html>')"),
    (500, "oops", "ProtocolViolation", None, "no etcd gateway there? HTTP 500: 'oops'"),
    (302, "", "ProtocolViolation", None,
     "no etcd gateway there? a redirect, which is not followed: HTTP 302: ''"),
    (200, "{}", "ProtocolViolation", None, "no etcd gateway there? HTTP 200: '{}'"),
    # JSON, but not etcd's
    (500, "[]", "ProtocolViolation", None, "no etcd gateway there? HTTP 500: '[]'"),
    (500, "null", "ProtocolViolation", None, "no etcd gateway there? HTTP 500: 'null'"),
    (503, '{"message":"later"}', "Unavailable", 14, "service unavailable (HTTP 503: '{\"message\":\"later\"}')"),
    (500, '{"code":"3","message":"x"}', "ProtocolViolation", None,
     "no etcd gateway there? HTTP 500: '{\"code\":\"3\",\"message\":\"x\"}'"),
    (500, '{"code":3,"message":5}', "ProtocolViolation", None,
     "no etcd gateway there? HTTP 500: '{\"code\":3,\"message\":5}'"),
    (500, '{"error":{"message":"x"}}', "ProtocolViolation", None,
     "no etcd gateway there? HTTP 500: '{\"error\":{\"message\":\"x\"}}'"),
    (500, '{"error":[1],"code":2}', "ProtocolViolation", None,
     "no etcd gateway there? HTTP 500: '{\"error\":[1],\"code\":2}'"),
]  # fmt: skip

COMMON_NAME = b"CommonName of client sending a request against gateway will be ignored and not used as expected\n"


class RefusalTests(SynchronousTestCase):
    def test_table(self) -> None:
        for status, body, name, code, message in REFUSED:
            error = error_of(status, body.encode())
            self.assertEqual((name, code, message), (type(error).__name__, error.code, error.message), body)

    def test_decode_raises_it(self) -> None:
        error = self.assertRaises(Unimplemented, decode, RPCS["KV.Range"], 404, b"Not Found")
        self.assertEqual(12, error.code)
        error = self.assertRaises(RequestCanceled, decode, RPCS["Watch.Watch"], 499, b'{"code":1,"message":"x"}')
        self.assertEqual("x", error.message)

    def test_line_of_a_stream(self) -> None:
        for body in (b'{"error":{"grpc_code":1,"http_code":408,"message":"x"}}', b'{"error":{"code":1,"message":"x"}}'):
            error = self.assertRaises(RequestCanceled, decode_line, RPCS["Watch.Watch"], body)
            self.assertEqual((1, "x"), (error.code, error.message))

    def test_common_name(self) -> None:
        """A certificate of a client with a name in it, refused in plain text before etcd is asked."""
        error = error_of(400, COMMON_NAME)
        self.assertIs(CommonNameIgnored, type(error))
        self.assertEqual((None, COMMON_NAME.decode()), (error.code, error.message))

    def test_classes_by_status(self) -> None:
        classes = {status: type(error_of(status, b"")) for status in (404, 413, 421, 502, 503, 504, 500)}
        self.assertEqual(
            {
                404: ProtocolViolation, 413: RequestTooLarge, 421: HostNotAllowed, 502: Unavailable, 503: Unavailable,
                504: Unavailable, 500: ProtocolViolation,
            },  # fmt: skip
            classes,
        )

    def test_excerpt_is_one_short_line(self) -> None:
        for body in (b"\n\n a \r\n" * 1000, b"\xff" * 1000, "\u2028x".encode() * 1000, b" " * 1000):
            shown = str(error_of(500, body))
            self.assertLess(len(shown), 200)
            self.assertEqual([shown], shown.splitlines())
            self.assertTrue(shown.endswith("...'"), shown)

    def test_code_that_is_a_boolean(self) -> None:
        error = error_of(500, b'{"code":true,"message":"x"}')
        self.assertEqual((ProtocolViolation, None), (type(error), error.code))

    def test_codes_of_grpc(self) -> None:
        """There are sixteen; what tells another one is something else that speaks JSON."""
        told = {code: error_of(500, b'{"code":%d,"message":"x"}' % code).code for code in (-1, 0, 1, 16, 17, 404)}
        self.assertEqual({-1: None, 0: None, 1: 1, 16: 16, 17: None, 404: None}, told)
