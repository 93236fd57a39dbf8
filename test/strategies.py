"""
What codecs are asked to send, at random: requests and what they are made of.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from txetcd import _messages as m
from txetcd.keyset import KeySet
from txetcd.ops import (
    Comp,
    CompCreated,
    CompLease,
    CompModified,
    CompValue,
    CompVersion,
    OpDel,
    OpGet,
    OpSet,
    OpTxn,
    Transaction,
)

keys = st.binary(min_size=1, max_size=8)
int64s = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 1, -1])
uint64s = st.integers(0, 2**64 - 1) | st.just(0)
texts = st.text(max_size=6)
counts = st.integers(0, 2**63 - 1) | st.just(0)
flags = st.booleans()
ranges = st.builds(KeySet, keys, keys | st.none()) | st.builds(KeySet, keys, prefix=st.just(True))
key_sets = ranges | st.just(KeySet.all())
operators = st.sampled_from(Comp.OPERATORS)

gets = st.builds(
    OpGet, key_sets, flags, flags, counts, counts, counts, counts, counts, flags,
    st.sampled_from([None, *OpGet.SORT_ORDERS]), st.sampled_from([None, *OpGet.SORT_TARGETS]), max_mod_revision=counts,
)  # fmt: skip
sets = st.builds(OpSet, keys, st.binary(max_size=8), int64s, flags)
sets |= st.builds(OpSet, keys, st.none(), int64s, flags, ignore_value=st.just(True))
sets |= st.builds(OpSet, keys, st.binary(max_size=8), st.none(), flags, ignore_lease=st.just(True))
deletes = st.builds(OpDel, key_sets.filter(lambda keys: keys.is_meant_for_all or not keys.is_everything), flags)
comps = st.one_of(
    st.builds(CompValue, key_sets, operators, st.binary(max_size=8)),
    st.builds(CompVersion, key_sets, operators, counts),
    st.builds(CompCreated, key_sets, operators, counts),
    st.builds(CompModified, key_sets, operators, counts),
    st.builds(CompLease, key_sets, operators, int64s),
)
transactions = st.recursive(
    st.just(Transaction()),
    lambda inner: st.builds(
        Transaction,
        st.lists(comps, max_size=2),
        st.lists(gets | sets | deletes | st.builds(OpTxn, inner), max_size=3),
        st.lists(gets | sets | deletes | st.builds(OpTxn, inner), max_size=2),
    ),
    max_leaves=4,
)
watches: st.SearchStrategy[Any] = st.builds(
    m.WatchCreateRequest, key_sets, counts, flags, st.sampled_from([(), ("NOPUT",), ("NOPUT", "NODELETE")]), flags,
    int64s, flags,
)  # fmt: skip
watches |= st.builds(m.WatchCancelRequest, int64s) | st.just(m.WatchProgressRequest())

requests = st.one_of(
    st.tuples(st.sampled_from(["KV.Range", "KV.RangeStream"]), gets),
    st.tuples(st.just("KV.Put"), sets),
    st.tuples(st.just("KV.DeleteRange"), deletes),
    st.tuples(st.just("KV.Txn"), transactions),
    st.tuples(st.just("Watch.Watch"), watches),
    st.tuples(st.just("Lease.LeaseGrant"), st.builds(m.LeaseGrantRequest, counts, int64s)),
)
