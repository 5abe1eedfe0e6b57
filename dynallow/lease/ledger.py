"""The agent's table of leases.

Pure: knows grants, leases and budgets; must not know sockets, clocks or nft.
The kernel's sets are the truth; this is what the agent knows of them, and it
errs on one side only: a deadline here is never later than the kernel's.

Invariant 3 lives here: a lease is only ever lengthened by `plan`/`commit`;
shortening is `plan_revocation`/`commit_revocation`, an explicit act. `plan` at
most forgets what has lapsed, `commit` is called after the kernel has said yes,
so a refused transaction leaves no trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from dynallow.lease.grant import Grant, Lease, Limits, lifetime
from dynallow.lease.lapsed import Lapsed
from dynallow.lease.plan import Plan, Put, Revocation, Room, room_of
from dynallow.lease.slices import slices

# A cached answer is handed out again and again while its TTL runs down. Its lease was
# made with the whole grace, so it stays ahead by that; rounding alone must not make each
# of those answers touch the kernel. Never applied to the TTL itself (invariant 2).
_GRACE_SLACK_S = 2.0
_NONE: frozenset[bytes] = frozenset()
_UNCLAIMED: dict[bytes, float] = {}
_UNLEASED: dict[bytes, Lease] = {}
_new = tuple.__new__  # what Lease(...) calls in the end, at half the price


class Ledger:
    """Leases by rule and address, and by name within a rule.

    Growth is bounded by `Limits.max_per_rule` and `max_addresses_per_name`;
    `sweep` forgets what has lapsed.
    """

    def __init__(self, limits: Limits, rules: Iterable[str] = ()) -> None:
        self.limits = limits
        self._leases: dict[str, dict[bytes, Lease]] = {rule: {} for rule in rules}
        # rule → name → address → deadline: one address may be earned by several names,
        # and each of them keeps its own count (the cap) and its own claim (revocation).
        self._names: dict[str, dict[bytes, dict[bytes, float]]] = {rule: {} for rule in rules}
        self._revoked: dict[bytes, float] = {}
        self.lapsed = Lapsed()
        self._swept_full: dict[tuple[str, str | None], float] = {}
        # What is planned and not yet acknowledged: plans made in one turn must not share a budget.
        self._reserved: dict[str | tuple[str, bytes], int] = {}

    # ------------------------------------------------------------ granting

    def plan(self, grants: Iterable[Grant], now: float) -> Plan:
        """Work out what the kernel must be told so that `grants` hold.

        Every lease that already outlives its grant is left alone. An address
        that does not fit the budget of one of its rules is refused for all of
        them: a client may only be told what every rule's set holds. Counted
        exactly as long as a rule and a name stand in one grant.
        """
        puts: list[Put] = []
        claims: list[Put] = []
        refused: set[bytes] = set()
        room: list[Room] = []
        limits, revoked, reserved = self.limits, self._revoked, self._reserved
        for rule, addresses, ttl_s, name, ends in grants:
            leases, names = self._leases.get(rule), self._names.get(rule)
            if leases is None or names is None:  # the rule may have gone while its answer was on the way
                refused.update(addresses)
                continue
            claim = names.get(name)
            if claim is None:
                if len(names) >= limits.max_per_rule and self._crowded(rule, now):
                    refused.update(addresses)
                    continue
                claim = _UNCLAIMED
            deadline = now + lifetime(ttl_s, limits)
            if ends is not None and ends < deadline:
                deadline = ends
            both = (rule, name)
            rule_room = limits.max_per_rule - reserved.get(rule, 0)
            name_room = limits.max_addresses_per_name - reserved.get(both, 0)
            for other_rule, other, count in room:
                rule_room -= count if other_rule == rule else 0
                name_room -= count if other == both else 0
            wanted = addresses if len(addresses) == 1 else tuple(dict.fromkeys(addresses))
            fresh = len(wanted)
            if (
                not claim
                and not revoked
                and fresh <= name_room
                and fresh <= rule_room - len(leases)
                and leases.keys().isdisjoint(wanted)
            ):
                # Nearly always: all of it is new, and there is room for all of it.
                for address in wanted:
                    puts.append((rule, address, deadline, name, True, False))
                room.append((rule, both, fresh))
                continue
            needed = self._needed(ttl_s, deadline, now)
            # What has lapsed makes room before anything is counted: afterwards it could be counted twice.
            if len(claim) + fresh > name_room:
                self._sweep_name(rule, name, now)
                claim = names.get(name) or _UNCLAIMED
            if len(leases) + fresh > rule_room:
                self._sweep_when_full(rule, leases, now)
            rule_takes = name_takes = fresh = 0
            for address in wanted:
                lease = leases.get(address)
                unrevoke = address in revoked
                holds = lease is not None and lease.deadline >= needed and not unrevoke
                claimed_until = claim.get(address)
                if claimed_until is None:
                    if len(claim) + name_takes >= name_room:
                        refused.add(address)
                        continue
                    name_takes += 1
                elif holds and claimed_until >= needed:
                    continue
                if lease is None:
                    if len(leases) + rule_takes >= rule_room:
                        refused.add(address)
                        continue
                    rule_takes += 1
                    fresh += 1
                    puts.append((rule, address, deadline, name, True, unrevoke))
                elif holds:
                    claims.append((rule, address, min(deadline, lease.deadline), name, False, False))
                else:
                    lapsed = lease.deadline <= now
                    fresh += lapsed
                    puts.append((rule, address, max(deadline, lease.deadline), name, lapsed, unrevoke))
            if fresh:
                room.append((rule, both, fresh))
        if refused:
            puts = [put for put in puts if put[1] not in refused]
            claims = [put for put in claims if put[1] not in refused]
            return puts, claims, frozenset(refused), room_of(puts)
        return puts, claims, _NONE, room

    def _needed(self, ttl_s: int, deadline: float, now: float) -> float:
        """Until when a lease that is there must live to be left alone; a new one would until `deadline`."""
        grace_s = self.limits.grace_s
        needed = now + ttl_s + (grace_s - _GRACE_SLACK_S if grace_s > _GRACE_SLACK_S else 0.0)
        return needed if needed < deadline else deadline

    def latest(self, puts: Iterable[Put]) -> dict[str, dict[bytes, Put]]:
        """What the kernel is to be told, by rule and address: each once, never shorter than it is held.

        The puts were planned apart, and others may have been committed since: the
        kernel keeps what it is told last, whichever is longer (invariant 3).
        """
        found: dict[str, dict[bytes, Put]] = {}
        current: str | None = None
        for put in puts:
            rule, address, deadline, name, fresh, unrevoke = put
            if rule is not current:
                current, there = rule, found.setdefault(rule, {})
                leases = self._leases.get(rule, _UNLEASED)
            if address in there:
                _, _, other, _, _, unrevoked = there[address]
                put = (rule, address, max(other, deadline), name, fresh, unrevoke or unrevoked)
            elif address in leases and (held := leases[address].deadline) > deadline:
                put = (rule, address, held, name, fresh, unrevoke)
            there[address] = put
        return found

    def commit(self, puts: Iterable[Put]) -> None:
        """Take note of what the kernel has acknowledged."""
        current: str | None = None
        for rule, address, deadline, name, fresh, unrevoke in puts:
            if rule is not current:
                current, leases, names = rule, self._leases.get(rule), self._names.get(rule)
            if leases is None or names is None:  # the rule went with a reload; its set is gone too
                continue
            lease = leases.get(address)
            if lease is None:
                leases[address] = _new(Lease, (deadline, name))
            elif deadline > lease.deadline:
                leases[address] = Lease(deadline, name if fresh else lease.name)
            claims = names.get(name)
            if claims is None:
                names[name] = {address: deadline}
            elif deadline > claims.get(address, 0.0):
                claims[address] = deadline
            if unrevoke:
                self._revoked.pop(address, None)

    def reserve(self, room: Iterable[Room]) -> None:
        """Keep room for puts that are on their way to the kernel."""
        reserved = self._reserved
        for rule, name, count in room:
            reserved[rule] = reserved.get(rule, 0) + count
            reserved[name] = reserved.get(name, 0) + count

    def release(self, room: Iterable[Room]) -> None:
        """They have arrived, or never will."""
        reserved = self._reserved
        for rule, name, count in room:
            reserved[rule] -= count
            left = reserved.pop(name) - count
            if left > 0:
                reserved[name] = left

    # ------------------------------------------------------------ looking

    def deadline(self, rule: str, address: bytes) -> float:
        """Until when the kernel was told to hold the address (monotonic seconds); 0 for not at all."""
        lease = self._leases.get(rule, {}).get(address)
        return lease.deadline if lease is not None else 0.0

    def earner(self, rule: str, address: bytes) -> bytes | None:
        """Who is told to have earned a rule's lease, not yet swept as it may be; None: no lease."""
        lease = self._leases.get(rule, {}).get(address)
        return None if lease is None else lease.name

    def claims(self, rule: str) -> dict[bytes, dict[bytes, float]]:
        """Who has earned what under a rule, and until when; to be read in one step."""
        return self._names.get(rule, {})

    def addresses(self, rule: str) -> list[bytes]:
        """Of a rule's leases, lapsed and not yet swept ones included; at one stroke, for other threads."""
        return list(self._leases.get(rule, ()))

    def held(self, rule: str) -> Mapping[bytes, Lease]:
        """A rule's leases by address, lapsed and not yet swept ones included; to look at alone."""
        return self._leases.get(rule, {})

    def leases(self, now: float) -> Iterator[tuple[str, bytes, Lease]]:
        """Every live lease as (rule, address, lease)."""
        for rule, leases in self._leases.items():
            for address, lease in leases.items():
                if lease.deadline > now:
                    yield rule, address, lease

    def at(self, address: bytes, now: float) -> list[tuple[str, Lease]]:
        """The live leases that one address has, by rule. Also from another thread: the rules may change."""
        found = ((rule, leases.get(address)) for rule, leases in [*self._leases.items()])
        return [(rule, lease) for rule, lease in found if lease is not None and lease.deadline > now]

    def of(self, name: bytes, now: float) -> list[tuple[str, bytes, Lease]]:
        """The live leases that one name has earned."""
        found = []
        for rule, names in self._names.items():
            for address, claimed_until in names.get(name, {}).items():
                lease = self._leases[rule].get(address)
                if lease is not None and min(lease.deadline, claimed_until) > now:
                    found.append((rule, address, lease))
        return found

    def names_of(self, address: bytes, now: float) -> set[bytes]:
        """Every name that has a live claim on the address."""
        return {
            name
            for names in self._names.values()
            for name, claims in names.items()
            if claims.get(address, 0.0) > now
        }

    def rules(self) -> tuple[str, ...]:
        """The rules that may hold leases."""
        return tuple(self._leases)

    def count_names(self, rule: str) -> int:
        """Names that have earned leases of a rule, lapsed ones that were not yet swept included."""
        return len(self._names.get(rule, ()))

    def count(self, rule: str) -> int:
        """Leases of a rule, lapsed ones that were not yet swept included."""
        return len(self._leases.get(rule, ()))

    # ------------------------------------------------------------ rules, restart

    def adopt(self, rule: str, address: bytes, deadline: float, name: bytes) -> None:
        """Take over an element that the kernel already holds."""
        self.commit([(rule, address, deadline, name, True, False)])

    def adopt_revoked(self, address: bytes, deadline: float) -> None:
        """Take over an address that the kernel's revoked set holds."""
        self._revoked[address] = deadline

    def revoked(self, now: float) -> Iterator[tuple[bytes, float]]:
        """The addresses that are blocked as revoked, and until when."""
        return ((address, until) for address, until in self._revoked.items() if until > now)

    def blocked_until(self, address: bytes) -> float:
        """Until when the address is blocked as revoked; 0: it never was, or was let go."""
        return self._revoked.get(address, 0.0)

    def forget_revoked(self, addresses: Iterable[bytes]) -> None:
        """They were taken out of the kernel's revoked set."""
        for address in addresses:
            self._revoked.pop(address, None)

    def drop(self, rule: str, address: bytes) -> None:
        """Forget a lease whose element could not be kept; flows to its address may live on."""
        lease = self._leases.get(rule, {}).pop(address, None)
        if lease is not None:
            self.lapsed.note(rule, address, lease.name)
        for claims in self._names.get(rule, {}).values():
            claims.pop(address, None)

    def set_rules(self, rules: Iterable[str], limits: Limits) -> None:
        """Follow a reload: leases of the rules that stay are kept as they are."""
        self.limits = limits
        wanted = list(rules)
        self._leases = {rule: self._leases.get(rule, {}) for rule in wanted}
        self._names = {rule: self._names.get(rule, {}) for rule in wanted}

    # ------------------------------------------------------------ revoking

    def plan_revocation(
        self, unjustified: Callable[[str, bytes], bool], now: float, gone: Iterable[bytes] = ()
    ) -> Revocation:
        """Which elements to take away when some claims no longer hold.

        `unjustified(rule, name)` says which claims those are; a lease goes
        when the last name that claims it goes. `gone` are addresses whose
        leases went otherwise. Flows to what has lapsed may live on: they are cut too.
        """
        losing: list[tuple[str, bytes]] = []
        ended = self.lapsed.of(unjustified, self._leases)
        for rule, leases in self._leases.items():
            kept: set[bytes] = set()
            for name, claims in self._names[rule].items():
                if not unjustified(rule, name):
                    kept.update(address for address, deadline in claims.items() if deadline > now)
            losing += [
                (rule, address)
                for address, lease in leases.items()
                if address not in kept and lease.deadline > now
            ]
            ended += [a for a, it in leases.items() if it.deadline <= now and unjustified(rule, it.name)]
        cut = dict.fromkeys([*gone, *(address for _, address in losing), *ended])
        return Revocation(tuple(losing), tuple(cut))

    def commit_revocation(
        self,
        revocation: Revocation,
        unjustified: Callable[[str, bytes], bool],
        revoked_until: float,
    ) -> None:
        """Forget what the kernel has taken away, and every claim that no longer holds."""
        for rule, claims in self._names.items():
            for name in [name for name in claims if unjustified(rule, name)]:
                del claims[name]
        for rule, address in revocation.elements:
            self._leases[rule].pop(address, None)
        self.lapsed.forget(unjustified, self._leases)
        for address in revocation.cut:
            self._revoked[address] = revoked_until

    # ------------------------------------------------------------ forgetting

    def sweep(self, now: float) -> Iterator[None]:
        """Forget what has lapsed, in slices: 100,000 leases at once would hold up every question."""
        self._revoked = {address: end for address, end in self._revoked.items() if end > now}
        for rule in self.rules():
            leases, names = self._leases.get(rule, {}), self._names.get(rule, {})
            for addresses in slices(leases):
                for address in addresses:
                    lease = leases.get(address)
                    if lease is not None and lease.deadline <= now:
                        self.lapsed.note(rule, address, leases.pop(address).name)
                yield
            for some in slices(names):
                for name in some:
                    self._sweep_name(rule, name, now)
                yield

    def _sweep_name(self, rule: str, name: bytes, now: float) -> None:
        names = self._names.get(rule, {})
        claims = names.get(name, {})
        for address in [address for address, deadline in claims.items() if deadline <= now]:
            del claims[address]
        if not claims:
            names.pop(name, None)

    def _crowded(self, rule: str, now: float) -> bool:
        """Whether a rule has as many names as it may have leases.

        Below a wildcard anybody can make up names that all share one address.
        """
        if len(self._names[rule]) >= self.limits.max_per_rule and self._may_sweep(rule, None, now):
            for name in list(self._names[rule]):
                self._sweep_name(rule, name, now)
        return len(self._names[rule]) >= self.limits.max_per_rule

    def _sweep_when_full(self, rule: str, leases: dict[bytes, Lease], now: float) -> None:
        if self._may_sweep(rule, "leases", now):
            for address in [address for address, lease in leases.items() if lease.deadline <= now]:
                self.lapsed.note(rule, address, leases.pop(address).name)

    def _may_sweep(self, rule: str, what: str | None, now: float) -> bool:
        """At most once a second: a full rule under a flood of names must not cost O(n) each."""
        if now - self._swept_full.get((rule, what), -1.0) < 1.0:
            return False
        self._swept_full[rule, what] = now
        return True
