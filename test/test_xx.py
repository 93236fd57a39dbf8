from __future__ import annotations
from typing import Any
from twisted.internet.defer import CancelledError, Deferred, DeferredList, gatherResults
from test.fakes import run
from test.test_contest import ContestCase, MINE
from test.test_lock import *
from test.test_stm import StmCase, A, B, LOST
from test.test_election import ElectionCase, candidate, entered as e_entered
from txetcd import Election, Lock, Session
from txetcd.errors import *
from txetcd.ops import OpDel, OpGet, OpSet
from txetcd.ops import Transaction

class X1(ContestCase):
    def test_A_deadline_passes_while_taking_back(self):
        lock = self.lock()
        acquiring = lock.acquire(3.0)
        self.clock.advance(1)
        self.transport.next(TXN).reply(OutcomeUnknown(None, "lost"))
        self.clock.advance(2)
        e = self.failureResultOf(acquiring).value
        print("A", repr(e), getattr(e,'maybe_applied',None))
        self.transport.next(TXN).reply(Outcome(True, header(60), []))
        self.close(self.session)
    def test_E_too_many(self):
        for error in (TooManyRequests(8, "many"), DeadlineExceeded(4, "x", ), RequestCanceled(1, "y")):
            lock = self.held()
            released = lock.release()
            self.transport.next(TXN).reply(error)
            print("E", self.failureResultOf(released).value.__class__, [c.rpc.name for c in self.transport.waiting])
            self.close(self.session)
    def test_closed_session(self):
        lock = self.held()
        c = self.session.close()
        self.transport.next(REVOKE).reply(OutcomeUnknown(None, "lost"))
        self.failureResultOf(c)
        print("closed session is_held", lock.is_held, lock.when_lost().called)
        self.transport.next(REVOKE).reply(LeaseNotFound(5, "x"))
        print("closed session is_held", lock.is_held)

class X2(ElectionCase):
    def test_B_resign_in_doubt_then_campaign(self):
        session = self.begin()
        el = Election(self.client, b"name", session=session)
        c = el.campaign(b"me")
        self.transport.next(TXN).reply(e_entered(20, candidate(KEY, 20)))
        self.successResultOf(c)
        r = el.resign()
        self.transport.next(TXN).reply(OutcomeUnknown(None, "lost"))
        self.failureResultOf(r)
        c = el.campaign(b"me")
        print("B", [x.request for x in self.transport.waiting])
        self.transport.waiting[1].reply(Outcome(False, header(40), [found(candidate(KEY,20)), found(candidate(KEY,20))]))
        print("B success", self.successResultOf(c), [x.request for x in self.transport.waiting])
        self.transport.next(TXN).reply(Outcome(True, header(60), []))
        print("B leader?", el.is_leader)
        self.close(session)

class X3(ElectionCase):
    def test_D_cancel_inside(self):
        d = Deferred()
        holder = []
        async def work():
            await d
            holder[0].cancel()
            await Deferred()
        running = self.election.run(work)
        holder.append(running)
        self.grant()
        self.transport.next(TXN).reply(e_entered(20, candidate(KEY, 20)))
        self.transport.next(RANGE).reply(found(candidate(KEY, 20)))
        d.callback(None)
        print("D", running.called, [x.rpc.name for x in self.transport.waiting])
        running.addErrback(lambda f: print("D", f))
    def test_D2_cancel_inside_sync(self):
        holder = []
        def work():
            holder[0].cancel()
            return Deferred()
        running = self.election.run(work)
        holder.append(running)
        self.grant()
        self.transport.next(TXN).reply(e_entered(20, candidate(KEY, 20)))
        print("D2", running.called, [x.rpc.name for x in self.transport.waiting])
        running.addErrback(lambda f: print("D2", f))

class X4(StmCase):
    def test_D3(self):
        holder = []
        async def f(stm):
            await stm.get(A)
            stm.set(A, b"z")
            holder[0].cancel()
        d = self.client.atomically(f); holder.append(d)
        self.answer()
        print("D3", d.called, d.result if d.called else None)
        d.addErrback(lambda f: None)
    def test_D4(self):
        holder = []
        async def f(stm):
            await stm.get(A)
            stm.set(A, b"z")
            holder[0].cancel()
            await Deferred()
        d = self.client.atomically(f); holder.append(d)
        self.answer()
        print("D4", d.called, d.result if d.called else None)
        d.addErrback(lambda f: None)
    def test_D5(self):
        holder = []
        async def f(stm):
            await stm.get(A)
            stm.set(A, b"z")
            holder[0].cancel()
            await Deferred()
        d = self.client.atomically(f, timeout=5); holder.append(d)
        self.answer()
        print("D5", d.called, d.result if d.called else None)
        d.addErrback(lambda f: None)
    def test_F(self):
        async def f(stm):
            await stm.get(A)
            self.bg = stm.get(B)
            stm.set(A, b"z")
        d = self.client.atomically(f)
        self.answer()
        get = self.transport.waiting[0]
        commit = self.transport.waiting[1]
        self.store.transact(commit.request)
        self.store.write(OpSet(A, b"other"))
        get.reply(self.store.answer(get.request))
        commit.reply(OutcomeUnknown(None, "lost"))
        self.clock.advance(0.5)
        while self.transport.waiting:
            c = self.transport.waiting[0]
            c.reply(self.store.answer(c.request))
            self.clock.advance(0.5)
        print("F", d.called, d.result if d.called else None)
        d.addErrback(lambda f: None)
    def test_G_read_timeouts(self):
        async def f(stm):
            await stm.get(A)
        d = self.client.atomically(f)
        self.clock.advance(10)
        f = self.failureResultOf(d)
        print("G", repr(f.value), f.value.maybe_applied)
