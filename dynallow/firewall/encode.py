"""The ruleset as nf_tables messages: what `text.py` prints, packed.

Pure. The kernel must not be able to tell a table that this made from one that `nft -f` made of the text:
a test loads both and compares all that the kernel tells of them. Knows how nft translates a rule (what must
be looked at first, prefixes, ranges, anonymous sets); must not know what the kernel has now (`step.py`).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from dynallow.firewall import expressions as ex
from dynallow.firewall import ruleset as rs
from dynallow.firewall import transaction as tr
from dynallow.firewall.fields import FIELDS, Field, Need, flow_user_data, named_user_data, user_data
from dynallow.firewall.transaction import Transaction

_FLAG_ANONYMOUS, _FLAG_CONSTANT, _FLAG_INTERVAL, _FLAG_TIMEOUT = 0x1, 0x2, 0x4, 0x10
_FLAG_DYNAMIC = 0x20  # NFT_SET_EVAL
_INTERVAL_END = ex.number(3, 1)  # NFTA_SET_ELEM_FLAGS
_OPEN_END = ex.attribute(6, struct.pack("=BBI", 1, 4, 1))  # user data: an interval up to the last value
_MOST = 128
"""Elements in a message: a nested attribute's length is 16 bits."""
_HOOKS = {"output": 3, "postrouting": 4}  # NF_INET_LOCAL_OUT, NF_INET_POST_ROUTING
_POLICIES = {"drop": 0, "accept": 1}
_UNITS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_ADMIN_PROHIBITED = 3  # NFT_REJECT_ICMPX_ADMIN_PROHIBITED
_COUNTER = 1  # NFT_OBJECT_COUNTER

Interval = tuple[int, int]
"""The first and the last value of it."""


def declare(transaction: Transaction, table: rs.Ruleset, denied: tuple[int, int] = (0, 0)) -> None:
    """Counters, sets and chains, then the rules. `denied`: packets and bytes that the counter begins with."""
    for name in table.counters:
        count = ex.nested(4, ex.long_number(1, denied[1]), ex.long_number(2, denied[0]))
        what = f"counter {name}"
        transaction.add(tr.NEW_OBJECT, what, ex.text(2, name), ex.number(3, _COUNTER), count)
    for chain in table.chains:
        _chain(transaction, chain)
    for flows in table.flow_sets:
        _flow_set(transaction, flows)
    for declared in table.sets:
        _set(transaction, declared)
    for chain in table.chains:
        for rule in chain.rules:
            _Rule(transaction, chain.name).add(rule)


def hook_numbers(hook: rs.Hook) -> tuple[str, int, int]:
    """As the kernel tells it: type, hook number, priority; `filter` is 0."""
    priority = 0 if hook.priority == "filter" else int(hook.priority)
    return hook.type, _HOOKS[hook.at], priority


def _chain(transaction: Transaction, chain: rs.Chain) -> None:
    told = [ex.text(3, chain.name)]
    if chain.hook is not None:
        kind, number, priority = hook_numbers(chain.hook)
        told += [
            ex.text(7, kind),
            ex.number(5, _POLICIES[chain.hook.policy]),
            ex.nested(4, ex.number(1, number), ex.number(2, priority & 0xFFFFFFFF)),
        ]
    transaction.add(tr.NEW_CHAIN, f"chain {chain.name}", *told)


def _set(transaction: Transaction, declared: rs.AddressSet) -> None:
    told = [
        ex.text(2, declared.name),
        ex.number(3, _FLAG_TIMEOUT),
        ex.number(4, 7 if declared.family == 4 else 8),
        ex.number(5, 4 if declared.family == 4 else 16),
        ex.number(10, transaction.new_set_id()),
        *([ex.nested(9, ex.number(1, declared.size))] if declared.size else []),
        ex.attribute(13, named_user_data()),
        *([ex.EACH_COUNTS] * declared.counter),
    ]
    transaction.add(tr.NEW_SET, f"set {declared.name}", *told)


# Where the parts of a flow's key lie, as nft puts them: the address in the first register or four of
# NFT_REG32_*, each other part in the next. And the type, six bits a part in nft's own numbers.
_FLOW_ADDRESSES: tuple[tuple[rs.Family, int], ...] = (
    (4, FIELDS["ip daddr"].type),
    (6, FIELDS["ip6 daddr"].type),
)
_FLOW_REGISTERS: dict[rs.Family, tuple[int, int, int]] = {4: (9, 10, 11), 6: (2, 13, 14)}
FLOW_TYPES: dict[rs.Family, int] = {
    family: ((address << 6 | 12) << 6 | 13) << 6 | 24 for family, address in _FLOW_ADDRESSES
}
_L4PROTO, _SKUID = 16, 10  # NFT_META_*


def _flow_set(transaction: Transaction, declared: rs.FlowSet) -> None:
    told = [
        ex.text(2, declared.name),
        ex.number(3, _FLAG_TIMEOUT | _FLAG_DYNAMIC),
        ex.number(4, FLOW_TYPES[declared.family]),
        ex.number(5, 16 if declared.family == 4 else 28),
        ex.number(10, transaction.new_set_id()),
        ex.long_number(11, 1000 * declared.lasts_s),
        ex.number(12, 1000 * declared.collected_every_s),
        ex.nested(9, ex.number(1, declared.size)),
        ex.attribute(13, flow_user_data()),
    ]
    transaction.add(tr.NEW_SET, f"set {declared.name}", *told)


class _Rule:
    """One rule in the making."""

    def __init__(self, transaction: Transaction, chain: str) -> None:
        self._transaction = transaction
        self._chain = chain
        self._parts: list[bytes] = []
        self._settled: set[Need] = set()
        self._joinable: tuple[Field, bytes] | None = None
        """The last test, if a neighbour of its field may be loaded with it."""

    def add(self, rule: rs.Rule) -> None:
        """To the transaction, with the anonymous sets that it looks into."""
        for match in rule.matches:
            self._match(match)
        if isinstance(rule.statement, rs.Tally):
            self._flow(rule.statement)
        self._parts.append(_statement(rule.statement))
        told = [ex.text(2, self._chain), ex.nested(4, *self._parts)]
        if rule.comment:
            words = rule.comment.encode() + b"\0"
            told.append(ex.attribute(7, struct.pack("=BB", 0, len(words)) + words))
        self._transaction.add(
            tr.NEW_RULE, f"a rule of chain {self._chain} ({rule.comment or 'fixed'})", *told
        )

    def _match(self, match: rs.Match) -> None:
        match match:
            case rs.InSet(name, family):
                self._load(FIELDS["ip daddr" if family == 4 else "ip6 daddr"])
                self._parts.append(ex.lookup(name))
            case rs.ToNetworks(networks):
                self._networks(networks)
            case rs.ToPorts(ports):
                intervals = [(port.first, port.last) for port in sorted(ports)]
                self._intervals(FIELDS[f"{ports[0].protocol} dport"], intervals)
            case rs.ByUsers(uids):
                field = FIELDS["meta skuid"]
                self._one_of(field, [field.value(uid) for uid in sorted(set(uids))])
            case rs.Test(name, values, negated):
                field = FIELDS[name]
                self._test(field, [field.value(value) for value in values], negated)
                if len(values) == 1 and not negated:
                    self._settled.add((name, str(values[0])))

    def _flow(self, tally: rs.Tally) -> None:
        """A flow's key into its registers."""
        protocol, port, user = _FLOW_REGISTERS[tally.family]
        self._load(FIELDS["ip daddr" if tally.family == 4 else "ip6 daddr"])
        self._parts += (
            ex.meta(_L4PROTO, protocol)
            if tally.protocol
            else ex.constant(rs.NO_PROTOCOL.to_bytes(1, "big"), protocol),
            ex.payload(ex.TRANSPORT, 2, 2, port)
            if tally.port
            else ex.constant(rs.NO_PORT.to_bytes(2, "big"), port),
            ex.meta(_SKUID, user) if tally.user else ex.constant(rs.NO_USER.to_bytes(4, "big"), user),
        )

    def _load(self, field: Field, load: bytes = b"") -> None:
        """Into the register, after what must be looked at before."""
        for need in field.needs:
            if need not in self._settled:
                self._settled.add(need)
                needed = FIELDS[need[0]]
                self._parts += (needed.load, ex.compare("==", needed.value(need[1])))
        self._parts.append(load or field.load)
        self._joinable = None

    def _test(self, field: Field, values: Sequence[bytes], negated: bool) -> None:
        if len(values) > 1:
            self._one_of(field, values, negated=negated)
        elif field.bits:
            self._load(field)
            self._parts += (ex.masked(values[0]), ex.compare("!=", bytes(field.size)))
        elif not negated and (joined := self._joined(field, values[0])) is not None:
            self._parts[-2:] = joined
        else:
            self._load(field)
            self._parts.append(ex.compare("!=" if negated else "==", values[0]))
            if not negated:
                self._joinable = field, values[0]

    def _joined(self, field: Field, value: bytes) -> tuple[bytes, bytes] | None:
        """Load and comparison of this field and the one before, where they lie side by side in the packet."""
        if self._joinable is None:
            return None
        before, its_value = self._joinable
        if before.payload is None or field.payload is None:
            return None
        base, offset = before.payload
        if field.payload != (base, offset + before.size):
            return None
        both = its_value + value
        return ex.payload(base, offset, len(both)), ex.compare("==", both)

    def _one_of(self, field: Field, values: Sequence[bytes], *, negated: bool = False) -> None:
        """One value, or any of several."""
        if len(values) == 1:
            self._load(field)
            self._parts.append(ex.compare("==", values[0]))
            return
        elements = [_key(value) for value in values]
        set_name, set_id = self._anonymous(field, elements, len(values), intervals=False)
        self._load(field)
        self._parts.append(ex.lookup(set_name, set_id, negated=negated))

    def _networks(self, networks: tuple[rs.Network, ...]) -> None:
        field = FIELDS["ip daddr" if networks[0].version == 4 else "ip6 daddr"]
        spans = rs.spans(networks)
        if len(spans) > 1 or spans[0][0] == spans[0][1]:
            self._intervals(field, spans)
            return
        first, last = spans[0]
        host_bits = (first ^ last).bit_length()
        if (1 << host_bits) - 1 != first ^ last or first & (first ^ last):
            self._intervals(field, spans)  # no prefix
            return
        width = 8 * field.size
        value, prefix = first.to_bytes(field.size, "big"), width - host_bits
        if prefix and prefix % 8 == 0:
            self._load(field, ex.address("daddr", 4 if field.family == 4 else 6, prefix // 8))
            self._parts.append(ex.compare("==", value[: prefix // 8]))
        else:
            mask = ((1 << width) - (1 << host_bits)).to_bytes(field.size, "big")
            self._load(field)
            self._parts += (ex.masked(mask), ex.compare("==", value))

    def _intervals(self, field: Field, intervals: Sequence[Interval]) -> None:
        """Values and ranges of them, sorted and apart."""

        def packed(value: int) -> bytes:
            return value.to_bytes(field.size, "big")

        if all(first == last for first, last in intervals):
            self._one_of(field, [packed(first) for first, _ in intervals])
        elif len(intervals) == 1:
            self._load(field)
            first, last = intervals[0]
            self._parts += (ex.compare(">=", packed(first)), ex.compare("<=", packed(last)))
        else:
            top = (1 << 8 * field.size) - 1
            elements = [_key(packed(0), _INTERVAL_END)] if intervals[0][0] else []
            for first, last in intervals:
                elements.append(_key(packed(first), b"" if last < top else _OPEN_END))
                if last < top:
                    elements.append(_key(packed(last + 1), _INTERVAL_END))
            size = 2 * len(intervals) + bool(intervals[0][0])
            set_name, set_id = self._anonymous(field, elements, size, intervals=True)
            self._load(field)
            self._parts.append(ex.lookup(set_name, set_id))

    def _anonymous(
        self, field: Field, elements: Sequence[bytes], size: int, *, intervals: bool
    ) -> tuple[str, int]:
        """A set of the rule's own, made before it."""
        transaction, name = self._transaction, "__set%d"  # the kernel puts a number in
        set_id, what = transaction.new_set_id(), f"a set of a rule of chain {self._chain}"
        told = [
            ex.text(2, name),
            ex.number(3, _FLAG_ANONYMOUS | _FLAG_CONSTANT | _FLAG_INTERVAL * intervals),
            ex.number(4, field.type),
            ex.number(5, field.size),
            ex.number(10, set_id),
            ex.nested(9, ex.number(1, size)),
            ex.attribute(13, user_data(field, intervals=intervals)),
        ]
        transaction.add(tr.NEW_SET, what, *told)
        for start in range(0, len(elements), _MOST):
            listed = ex.nested(3, *elements[start : start + _MOST])
            transaction.add(tr.NEW_ELEMENTS, what, ex.text(2, name), ex.number(4, set_id), listed)
        return name, set_id


def _key(value: bytes, beside: bytes = b"") -> bytes:
    """NFTA_LIST_ELEM: an element and what is told beside its key."""
    return ex.nested(1, ex.nested(1, ex.attribute(1, value)), beside)


def _statement(statement: rs.Statement) -> bytes:
    match statement:
        case rs.Accept():
            return ex.verdict(ex.ACCEPT)
        case rs.Drop():
            return ex.verdict(ex.DROP)
        case rs.Reject():
            return ex.refuse(_ADMIN_PROHIBITED)
        case rs.Reset():
            return ex.reset()
        case rs.Return():
            return ex.verdict(ex.RETURN)
        case rs.Jump(chain):
            return ex.verdict(ex.JUMP, chain)
        case rs.Goto(chain):
            return ex.verdict(ex.GOTO, chain)
        case rs.Count(counter):
            return ex.count(counter)
        case rs.Log(rate, prefix, group, burst):
            return ex.limit(rate.count, _UNITS_S[rate.per], burst) + ex.log(prefix, group)
        case rs.Tally(flows, _, then):
            return ex.update(flows) + _statement(then)
        case rs.Redirect(port):
            return ex.redirect(port)
