"""
What is asked, the same for all clients: for each workload an endless series of calls, which callers take in turn.

A client is here whatever has ``put``, ``get``, ``range`` and ``put_all``, and ``text``, which makes of bytes what it
takes for keys and values. Its ``watch`` is no call, as it lasts: see :mod:`benchmarks.workers.events`.
"""

from __future__ import annotations

import random
from functools import partial
from itertools import cycle, repeat
from typing import Any, Callable, Iterable, Iterator, Union

Call = Callable[[], Any]

KEY, VALUE = b"foo", b"barbarbar"

#: The range, and the end of it.
RANGE_PREFIX, RANGE_END, RANGE_KEYS = b"range/", b"range0", 50_000

#: Those of the mixed load.
MIXED_KEYS = 1_000

#: The calls of the mixed load come again after so many.
MIXED_CALLS = 1_000

#: How many operations a transaction has; one of the mixed load.
TRANSACTION_PUTS, MIXED_PUTS = 64, 4

#: What is watched: keys with this prefix, and the last of them that is written.
EVENTS_PREFIX, EVENTS_END = b"events/", b"events/end"

LONG_VALUE = bytes(range(48, 123)) + bytes(range(97, 122))

#: The bytes of an event, key and value.
EVENT_SIZE = len(EVENTS_PREFIX) + 2 + len(LONG_VALUE)


def range_key(number: int) -> bytes:
    """A key of the range."""
    return RANGE_PREFIX + b"%08d" % number


def mixed_key(number: int) -> bytes:
    """A key of the mixed load."""
    return b"mixed/%04d" % number


def event_puts() -> list[tuple[bytes, bytes]]:
    """What the writer of events puts in a transaction."""
    return [(EVENTS_PREFIX + b"%02d" % number, LONG_VALUE) for number in range(TRANSACTION_PUTS)]


def stored() -> dict[bytes, bytes]:
    """What is there before anything is measured."""
    keys = [KEY, *map(range_key, range(RANGE_KEYS)), *map(mixed_key, range(MIXED_KEYS))]
    return {key: VALUE if key == KEY else LONG_VALUE for key in keys}


def calls(client: Any, workload: str) -> Iterator[Call]:
    """
    The calls of a workload.

    :raises ValueError: if there is none of this name.
    """
    if workload not in _WORKLOADS:
        raise ValueError(f"there is no workload {workload!r}")
    return _WORKLOADS[workload](client)


def _put(client: Any) -> Iterator[Call]:
    return repeat(partial(client.put, client.text(KEY), client.text(VALUE)))


def _get(client: Any) -> Iterator[Call]:
    return repeat(partial(client.get, client.text(KEY)))


def _range(client: Any) -> Iterator[Call]:
    return repeat(partial(client.range, client.text(RANGE_PREFIX), client.text(RANGE_END)))


def _transaction(client: Any) -> Iterator[Call]:
    return repeat(_puts(client, [b"transaction/%02d" % number for number in range(TRANSACTION_PUTS)]))


def _mixed(client: Any) -> Iterator[Call]:
    """Of 100 calls 80 get, 15 put, 5 are transactions, in an order by chance that is the same at every run."""
    chance = random.Random(1)
    kinds = (80 * [_mixed_get] + 15 * [_mixed_put] + 5 * [_mixed_puts]) * (MIXED_CALLS // 100)
    chance.shuffle(kinds)
    return cycle([kind(client, chance) for kind in kinds])


def _mixed_get(client: Any, chance: random.Random) -> Call:
    return partial(client.get, client.text(mixed_key(chance.randrange(MIXED_KEYS))))


def _mixed_put(client: Any, chance: random.Random) -> Call:
    return partial(client.put, client.text(mixed_key(chance.randrange(MIXED_KEYS))), client.text(LONG_VALUE))


def _mixed_puts(client: Any, chance: random.Random) -> Call:
    return _puts(client, [mixed_key(number) for number in chance.sample(range(MIXED_KEYS), MIXED_PUTS)])


def _puts(client: Any, keys: list[bytes]) -> Call:
    return partial(client.put_all, [(client.text(key), client.text(LONG_VALUE)) for key in keys])


_WORKLOADS: dict[str, Callable[[Any], Iterator[Call]]] = {
    "put": _put,
    "get": _get,
    "range": _range,
    "transaction": _transaction,
    "mixed": _mixed,
}


def check_range(found: Iterable[tuple[Union[bytes, str], Union[bytes, str]]]) -> None:
    """
    Looks at each key and its value: a range that was not read in full is none that was read fast, and some clients
    decode a key-value only when somebody looks at it.
    """
    keys = size = 0
    for key, value in found:
        keys += 1
        size += len(key) + len(value)
    if (keys, size) != (RANGE_KEYS, RANGE_KEYS * (len(range_key(0)) + len(LONG_VALUE))):
        raise ValueError(f"got {keys} keys of {RANGE_KEYS}, and {size} bytes")
