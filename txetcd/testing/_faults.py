"""
What a bad network does to the bytes of a connection, and to which. Everything is decided here, and nothing is done:
:mod:`txetcd.testing._relay` has the sockets and the timers.

**Exchanges.** Nothing is known of the protocol. A request is what the client sends until the server says something,
an answer what the server sends until the client says something new; both are an :class:`Exchange`. That is true of
HTTP/1.1 as clients use it, and of the traffic between members. Where requests overlap, as in HTTP/2, an exchange is
only the time between two of them.

**Rules.** A command becomes a :class:`Rule`: a :class:`Fault`, and whom it strikes. ``misbehave`` throws dice for each
exchange; they depend on the seed, the connection and the exchange alone, and not on what happens elsewhere meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import Any, Callable, ClassVar, Optional, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import attrs

TO_SERVER, TO_CLIENT = "to_server", "to_client"
DIRECTIONS = (TO_SERVER, TO_CLIENT)

CLOSE, RESET, HALF_CLOSE = "close", "reset", "half_close"
ENDINGS = (CLOSE, RESET, HALF_CLOSE)
"""How one side hears that nothing more comes; only after a half-close it may still send itself."""

SWALLOW = "swallow"

KEPT = 4096
"""How many bytes are kept of the beginning of a request, or an answer: enough for the head of any of HTTP."""

LONGEST_CUT = 400
"""Where dice cut at the latest, in bytes: few requests and answers are longer."""

F = TypeVar("F", bound="Fault")


# --- exchanges


@attrs.define(eq=False)
class Exchange:
    """
    A request and its answer.

    :ivar name: the numbers of the connection and of the exchange on it (``str``), by which dice are thrown.
    :ivar request: how the request begins, as it came from the client (``bytes``).
    :ivar answer: how the answer begins, as it came from the server (``bytes``).
    :ivar passed: how many bytes were handed over in each direction.
    """

    name: str
    request: bytes = b""
    answer: bytes = b""
    passed: Counter[str] = attrs.field(factory=Counter)


class Dialogue:
    """
    Tells the exchanges of a connection apart.

    :param number: of the connection.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._count = 0
        self.current = self._next()

    def _next(self) -> Exchange:
        self._count += 1
        return Exchange(f"{self._number}.{self._count}")

    def asked(self, data: bytes) -> Exchange:
        """The exchange to which *data* of the client belongs."""
        if self.current.answer:
            self.current = self._next()
        self.current.request += data[: KEPT - len(self.current.request)]
        return self.current

    def answered(self, data: bytes) -> Exchange:
        """The exchange to which *data* of the server belongs."""
        self.current.answer += data[: KEPT - len(self.current.answer)]
        return self.current


# --- faults


@attrs.frozen
class Verdict:
    """
    What becomes of some bytes.

    :ivar data: those that are handed over.
    :ivar then: what comes behind them: one of :data:`ENDINGS`, or :data:`SWALLOW`, which is nothing for ever.
    """

    data: bytes
    then: str


@attrs.frozen
class Fault:
    """
    A fault.

    :cvar kind: what it is called; so is the command.
    :ivar directions: those that suffer it.
    """

    kind: ClassVar[str]
    directions: tuple[str, ...]

    def judge(self, data: bytes, passed: int) -> Optional[Verdict]:
        """
        What becomes of *data*; ``None`` if it goes its way.

        :param data: is empty if the line ends here.
        :param passed: how many bytes of the request, or the answer, went before.
        """
        return None


@attrs.frozen
class Delay(Fault):
    """Everything takes *seconds* longer, and up to *jitter* seconds more or less than that."""

    kind = "delay"
    seconds: float
    jitter: float = 0.0


@attrs.frozen
class Throttle(Fault):
    """No more than so many bytes go through in a second."""

    kind = "throttle"
    bytes_per_second: int


@attrs.frozen
class Bytewise(Fault):
    """Everything comes byte by byte."""

    kind = "bytewise"


@attrs.frozen
class BlackHole(Fault):
    """Nothing comes any more, not even an end."""

    kind = "black_hole"

    def judge(self, data: bytes, passed: int) -> Optional[Verdict]:
        """It is swallowed."""
        return Verdict(b"", SWALLOW)


@attrs.frozen
class _Cut(Fault):
    after: int
    how: str

    def judge(self, data: bytes, passed: int) -> Optional[Verdict]:
        if not data or passed + len(data) < self.after:
            return None
        return Verdict(data[: max(0, self.after - passed)], self.how)


@attrs.frozen
class CutRequest(_Cut):
    """The line ends when the server has so many bytes of a request."""

    kind = "cut_request"
    directions: tuple[str, ...] = attrs.field(default=(TO_SERVER,), init=False)


@attrs.frozen
class CutAnswer(_Cut):
    """The line ends when the client has so many bytes of an answer."""

    kind = "cut_answer"
    directions: tuple[str, ...] = attrs.field(default=(TO_CLIENT,), init=False)


@attrs.frozen
class HalfClose(_Cut):
    """The line ends there, and the other one goes on."""

    kind = "half_close"
    how: str = attrs.field(default=HALF_CLOSE, init=False)


@attrs.frozen
class CutLine(Fault):
    """Of a line of text that the server sends, the client gets one half."""

    kind = "cut_line"
    directions: tuple[str, ...] = attrs.field(default=(TO_CLIENT,), init=False)
    how: str

    def judge(self, data: bytes, passed: int) -> Optional[Verdict]:
        """It is cut in the middle of a line."""
        return Verdict(data[: middle_of_longest_line(data)], self.how) if data else None


def middle_of_longest_line(data: bytes) -> int:
    """Where to cut *data*, so that it is in a line that matters: those of HTTP between two messages are short."""
    lines = data.splitlines(keepends=True)
    longest = max(range(len(lines)), key=lambda number: len(lines[number]))
    return sum(map(len, lines[:longest])) + len(lines[longest]) // 2


@attrs.frozen
class ReplaceAnswer(Fault):
    """The client gets something else, and then the end."""

    kind = "replace_answer"
    directions: tuple[str, ...] = attrs.field(default=(TO_CLIENT,), init=False)
    instead: bytes

    def judge(self, data: bytes, passed: int) -> Optional[Verdict]:
        """Something else comes in its place."""
        return Verdict(self.instead, CLOSE) if data else None


# --- dice


def _somewhere(random: Random) -> int:
    return random.choice((0, random.randrange(1, LONGEST_CUT)))


def _somehow(random: Random) -> str:
    return random.choice((CLOSE, RESET))


DICE: dict[str, Callable[[Random], Fault]] = {
    "cut_request": lambda random: CutRequest(_somewhere(random), _somehow(random)),
    "cut_answer": lambda random: CutAnswer(_somewhere(random), _somehow(random)),
    "cut_line": lambda random: CutLine(_somehow(random)),
    "half_close": lambda random: HalfClose((random.choice(DIRECTIONS),), _somewhere(random)),
    "black_hole": lambda random: BlackHole((random.choice(DIRECTIONS),)),
    "delay": lambda random: Delay(DIRECTIONS, random.uniform(0, 0.5), 0.1),
    "throttle": lambda random: Throttle(DIRECTIONS, random.randrange(500, 50_000)),
    "bytewise": lambda random: Bytewise(DIRECTIONS),
}
"""The kinds of faults that come at random, and how each is drawn."""


def throw(seed: int, exchange: str, rate: float, kinds: tuple[str, ...]) -> Optional[Fault]:
    """The fault that an exchange suffers by chance, if any: the same whenever the arguments are the same."""
    random = Random(f"{seed}/{exchange}")
    return DICE[random.choice(kinds)](random) if random.random() < rate else None


# --- rules


Where = Callable[[Any], object]


@attrs.define(eq=False)
class Rule:
    """
    A fault, and whom it strikes.

    :ivar fault: the fault.
    :ivar where: tells of a connection whether it may suffer it; nothing said is yes.
    :ivar left: how many more exchanges are struck.
    """

    fault: Fault
    where: Optional[Where] = None
    left: float = float("inf")
    _struck: WeakSet[Exchange] = attrs.field(factory=WeakSet, init=False)

    def holds(self, connection: Any, exchange: Exchange) -> bool:
        """Whether an exchange suffers it: what was struck once suffers to its end."""
        if exchange in self._struck:
            return True
        return self.left > 0 and (self.where is None or bool(self.where(connection)))

    def strike(self, exchange: Exchange) -> bool:
        """It had an effect; whether that was the first time for this exchange."""
        if exchange in self._struck:
            return False
        self._struck.add(exchange)
        self.left -= 1
        return True


class Faults:
    """
    The rules that hold now.

    :param seed: for all that comes at random.
    :ivar done: how many exchanges, or connections, suffered each kind.
    :ivar passed: how many bytes were handed over in each direction.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.done: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()
        self._rules: list[Rule] = []
        self._odds: Optional[tuple[float, tuple[str, ...]]] = None
        self._thrown: WeakKeyDictionary[Exchange, Optional[Rule]] = WeakKeyDictionary()

    def add(self, rule: Rule) -> None:
        """One more rule."""
        self._rules.append(rule)

    def misbehave(self, rate: float, kinds: tuple[str, ...]) -> None:
        """From now on dice are thrown for every exchange."""
        self._odds = (rate, kinds)
        self._thrown.clear()

    def behave(self) -> None:
        """No rules, and no dice."""
        self._rules.clear()
        self._odds = None
        self._thrown.clear()

    def rules_for(self, connection: Any, exchange: Exchange, direction: str) -> list[Rule]:
        """The rules by which something that goes over a connection is judged, in the order of their commands."""
        rules = [*self._rules, *self._by_chance(exchange)]
        return [rule for rule in rules if direction in rule.fault.directions and rule.holds(connection, exchange)]

    def _by_chance(self, exchange: Exchange) -> Iterable[Rule]:
        if self._odds is None:
            return
        if exchange not in self._thrown:
            fault = throw(self.seed, exchange.name, *self._odds)
            self._thrown[exchange] = None if fault is None else Rule(fault)
        rule = self._thrown[exchange]
        if rule is not None:
            yield rule

    def judge(self, rules: Iterable[Rule], exchange: Exchange, data: bytes, passed: int) -> Optional[Verdict]:
        """What becomes of *data*, by the first rule that says so; ``None`` if it goes its way."""
        for rule in rules:
            verdict = rule.fault.judge(data, passed)
            if verdict is not None:
                self.note(rule, exchange)
                return verdict
        return None

    def last(self, kind: type[F], rules: Iterable[Rule], exchange: Exchange) -> Optional[F]:
        """The fault of a kind that was commanded last, which is the one that counts where there can be only one."""
        found = None
        for rule in rules:
            if isinstance(rule.fault, kind):
                found = rule
        if found is None:
            return None
        self.note(found, exchange)
        return found.fault  # type: ignore[return-value]  # it is, says isinstance

    def note(self, rule: Rule, exchange: Exchange) -> None:
        """A rule had an effect on an exchange."""
        if rule.strike(exchange):
            self.done[rule.fault.kind] += 1
