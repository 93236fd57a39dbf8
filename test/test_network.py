"""
The network between members, as far as it is pure: who sends, and who reaches whom.
"""

from __future__ import annotations

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txetcd.testing._identity import Bootstrap, Peer, member_id
from txetcd.testing._network import PeerNetwork, Sides, behind, sender_of

STREAM = b"""\
GET /raft/stream/msgapp/cf4f4fea8a08c4e9 HTTP/1.1\r
Host: 127.0.0.1:38141\r
User-Agent: Go-http-client/1.1\r
X-Etcd-Cluster-Id: 93446ca4d33a92cc\r
X-Min-Cluster-Version: 3.0.0\r
X-Peerurls: http://127.0.0.1:37069\r
X-Raft-To: cf4f4fea8a08c4e9\r
X-Server-From: 1bf81a8ec0c1ccf\r
X-Server-Version: 3.6.16\r
\r
"""
"""What a member of 3.6.16 has sent; its id has a leading zero, which it leaves out."""

PROBE = b"""\
GET /raft/probing HTTP/1.1\r
Host: 127.0.0.1:38141\r
User-Agent: Go-http-client/1.1\r
Accept-Encoding: gzip\r
\r
"""


class SenderTests(SynchronousTestCase):
    def test_told(self) -> None:
        self.assertEqual(sender_of(STREAM), 0x01BF81A8EC0C1CCF)
        self.assertEqual(sender_of(STREAM.replace(b"X-Server-From", b"x-server-from")), 0x01BF81A8EC0C1CCF)
        self.assertEqual(sender_of(STREAM + b"\x00body"), 0x01BF81A8EC0C1CCF)

    def test_not_told(self) -> None:
        for request in (b"", PROBE, STREAM.replace(b"1bf81a8ec0c1ccf", b"me")):
            self.assertIsNone(sender_of(request), request)

    def test_in_the_body(self) -> None:
        """What a user writes into a key does not count."""
        self.assertIsNone(sender_of(PROBE + b"\r\nX-Server-From: 1\r\n"))


class BehindTests(SynchronousTestCase):
    def test_behind(self) -> None:
        """Members have other ports for their peers, and so other ids; all else stays."""
        peers = (Peer("a", 1), Peer("b", 2))
        before = [Bootstrap("token", 8, peers[0], peers), Bootstrap("token", 9, peers[1], peers)]
        moved = (Peer("a", 11), Peer("b", 12))
        self.assertEqual(
            behind([11, 12], before),
            [attrs.evolve(before[0], me=moved[0], peers=moved), attrs.evolve(before[1], me=moved[1], peers=moved)],
        )
        self.assertEqual(behind([11, 12], before)[0].member_id, member_id(["http://127.0.0.1:11"], "token"))


class SidesTests(SynchronousTestCase):
    def cut(self, sides: Sides, size: int) -> list[str]:
        """From each member, to which others nothing gets."""
        places = range(size)
        return ["".join(str(to) for to in places if sides.is_cut(sender, to)) for sender in places]

    def test_none(self) -> None:
        sides = Sides(3)
        self.assertEqual((self.cut(sides, 3), sides.isolated), (["", "", ""], 0))
        self.assertEqual([sides.has_majority(place) for place in range(3)], [True] * 3)

    def test_one(self) -> None:
        sides = Sides(3)
        sides.isolate([1])
        self.assertEqual((self.cut(sides, 3), sides.isolated), (["1", "02", "1"], 1))
        self.assertEqual([sides.has_majority(place) for place in range(3)], [True, False, True])
        # again, which changes nothing
        sides.isolate([1])
        self.assertEqual((self.cut(sides, 3), sides.isolated), (["1", "02", "1"], 1))
        sides.rejoin([1])
        self.assertEqual((self.cut(sides, 3), sides.isolated), (["", "", ""], 0))

    def test_one_by_one(self) -> None:
        """They are cut off from one another as well, and come back in any order."""
        sides = Sides(3)
        for place in range(3):
            sides.isolate([place])
        self.assertEqual((self.cut(sides, 3), sides.isolated), (["12", "02", "01"], 3))
        self.assertEqual([sides.has_majority(place) for place in range(3)], [False] * 3)
        sides.rejoin([2])
        self.assertEqual((self.cut(sides, 3), sides.isolated), (["12", "02", "01"], 2))
        sides.rejoin([0])
        self.assertEqual((self.cut(sides, 3), sides.isolated), (["1", "02", "1"], 1))

    def test_together(self) -> None:
        """They reach one another; who is brought back does not reach those who are left."""
        sides = Sides(4)
        sides.isolate([0, 1])
        self.assertEqual(self.cut(sides, 4), ["23", "23", "01", "01"])
        self.assertEqual([sides.has_majority(place) for place in range(4)], [False] * 4)
        sides.rejoin([1])
        self.assertEqual(self.cut(sides, 4), ["123", "0", "0", "0"])
        sides.isolate([1, 2, 3])
        self.assertEqual(self.cut(sides, 4), ["123", "0", "0", "0"])

    def test_unknown_sender(self) -> None:
        """It reaches those who have a majority, and so perhaps a leader."""
        sides = Sides(3)
        self.assertEqual([sides.is_cut(None, place) for place in range(3)], [False] * 3)
        sides.isolate([0])
        self.assertEqual([sides.is_cut(None, place) for place in range(3)], [True, False, False])


class NetworkTests(SynchronousTestCase):
    def test_not_started(self) -> None:
        self.assertIsNone(self.successResultOf(PeerNetwork(Clock()).stop()))
