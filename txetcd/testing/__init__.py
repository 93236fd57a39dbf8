"""
Real etcd servers for your own tests: one (:class:`EtcdProcess`) or a cluster (:class:`EtcdCluster`), and a bad network
in front of them (:class:`FaultyProxy`).

With trial, a server for each test::

    class TestMine(TestCase):
        async def setUp(self):
            self.etcd = EtcdProcess(reactor)
            self.addCleanup(self.etcd.stop)
            await self.etcd.start()

or one for all of them, which nobody has to stop, and keys of its own for every test with :func:`namespace`::

    etcd = EtcdProcess(reactor)

    class TestMine(TestCase):
        async def setUp(self):
            self.prefix = namespace(self)
            if not etcd.is_running:
                await etcd.start()

With pytest, use pytest-twisted, which runs the reactor that these classes need. A server for each test, or for all::

    @pytest_twisted.async_yield_fixture
    async def etcd():
        async with EtcdProcess(reactor) as etcd:
            yield etcd

    @pytest.fixture(scope="session")
    def shared_etcd():
        yield pytest_twisted.blockon(EtcdProcess(reactor).start())

and mark each test that is a coroutine with ``@pytest_twisted.ensureDeferred``. A suite that has test cases of trial as
well is run with trial, or those without that plugin (``pytest -p no:twisted``).

What your program does when its network fails, in each way that a network can fail::

    async def test_lost_answer(self):
        async with FaultyProxy(reactor, self.etcd.url) as proxy, Client(reactor, proxy.url) as client:
            proxy.cut_answer(count=1)
            ...

and when the network between the members fails, while each still answers its clients::

    async def test_cut_off(self):
        async with EtcdCluster(reactor, partitionable=True) as cluster, Client(reactor, cluster.urls) as client:
            cluster.isolate(await cluster.leader())
            ...

Whether what a watch has told is what has happened, all of it and nothing twice: :class:`WatchRecord`.
Whether a lock was held by one at a time, in the order of asking: :class:`LockRecord`, of
:mod:`txetcd.testing.lockcheck`.

POSIX only: the servers are controlled with signals.
"""

from ._binary import EtcdFailed, EtcdNotFound, find_etcd
from ._cluster import EtcdCluster
from ._identity import namespace
from ._process import EtcdProcess
from ._proxy import FaultyProxy
from ._relay import ProxyConnection
from ._violation import Violation
from ._watchcheck import History, WatchRecord
from .lockcheck import LockRecord

__all__ = [
    "EtcdCluster",
    "EtcdFailed",
    "EtcdNotFound",
    "EtcdProcess",
    "FaultyProxy",
    "History",
    "LockRecord",
    "ProxyConnection",
    "Violation",
    "WatchRecord",
    "find_etcd",
    "namespace",
]
