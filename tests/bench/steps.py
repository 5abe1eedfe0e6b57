"""How long one step keeps the loop busy at worst: each step on the worst input that its caps let in.

    python -m tests.bench.steps [--rounds N]

Target 4: no encoding or parsing step blocks the loop longer than 1 ms. CPU time of the pure
steps of a question's road, each alone, in a process whose collector is set as the agent's:
messages of 64 KiB, answers of 256 to 4,000 addresses, 256 addresses under three rules, a full
transaction, 100,000 leases. The least of all rounds is what the step itself costs, the most what
it cost once with the machine as it was. "refused" says that the step ends in an error, as it
should; of a step that is done in slices it is the longest slice. Needs no root and no network.
How the same steps do on an ordinary message: wire_steps.py.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from ipaddress import ip_network
from typing import NamedTuple

from dynallow.errors import WireError
from dynallow.firewall.elements import Batch, Element, comment
from dynallow.firewall.leaser import _MAX_PUTS as MAX_PUTS
from dynallow.lease.grant import Limits
from dynallow.lease.ledger import Ledger
from dynallow.policy.names import to_text
from dynallow.policy.rules import Rule
from dynallow.policy.verdict import Outcome, Verdict
from dynallow.resolver import answer
from dynallow.resolver.local import denial
from dynallow.wire.chain import walk
from dynallow.wire.numbers import HTTPS, MESSAGE_MAX, NOERROR, QR, A
from dynallow.wire.query import build_query
from dynallow.wire.question import parse_question
from dynallow.wire.render import render, retold
from dynallow.wire.response import Response, parse_in_slices, parse_response
from tests.bench import command, worst_input
from tests.bench.figures import Figure, figures_table
from tests.bench.worst_input import IDENT, NAME

LIMIT_MS = 1.0
_RULES, _ADDRESSES = 3, 256
_LEASES = 100_000


class Step(NamedTuple):
    """`prepare` makes what is run and timed; it is called anew for every run."""

    subject: str
    what: str
    prepare: Callable[[], Callable[[], object]]


def same(run: Callable[[], object]) -> Callable[[], Callable[[], object]]:
    """For a step that changes nothing: what is prepared is the same each time."""
    return lambda: run


def steps(leases: int) -> Iterator[Step]:
    """All of them."""
    yield from _messages()
    yield from _answers()
    yield from _kernel()
    yield from _replies()
    yield from _ledger(leases)


def _messages() -> Iterator[Step]:
    for what, make in worst_input.MESSAGES.items():
        packet = make()
        in_slices = partial(parse_in_slices, packet, id=IDENT, name=NAME, qtype=A)
        yield Step("parse_in_slices", what, same(in_slices))
    for what in ("4,000 A records", "a chain of CNAMEs"):
        response = parse(worst_input.MESSAGES[what]())
        yield Step("walk", what, same(partial(walk, response, NAME, A)))


def parse(packet: bytes) -> Response:
    """The response in a packet of worst_input's."""
    return parse_response(packet, id=IDENT, name=NAME, qtype=A)


def _answers() -> Iterator[Step]:
    private = tuple(ip_network(f"10.{number}.0.0/16") for number in range(16))
    rules = tuple(Rule(index, f"rule-{index}", private=private) for index in range(_RULES))
    scope = answer.Scope(Verdict(Outcome.ALLOWED, rules), Limits(), frozenset(), observe=False)
    for count in (_ADDRESSES, 4000):
        response = Response(IDENT, QR, NOERROR, worst_input.records(count), ())
        yield Step(
            f"compose, {_RULES} rules",
            f"{count:,} addresses",
            same(partial(compose, response, scope, A)),
        )
    hints = b"".join(worst_input.address(number) for number in range(_ADDRESSES))
    rdata = b"\0\x01\0" + b"\0\x04" + len(hints).to_bytes(2, "big") + hints
    owner, _rtype, ttl, _address = worst_input.records(1)[0]
    https = Response(IDENT, QR, NOERROR, ((owner, HTTPS, ttl, rdata),), ())
    yield Step(
        f"compose, {_RULES} rules", f"HTTPS, {_ADDRESSES} hints", same(partial(compose, https, scope, HTTPS))
    )


def compose(response: Response, scope: answer.Scope, qtype: int) -> answer.Answer:
    """The answer that may be given."""
    return answer.compose(response, NAME, qtype, scope, now=0.0, left_s=None)


def _kernel() -> Iterator[Step]:
    asked = f"{_ADDRESSES} addresses x {_RULES} rules"
    grants = worst_input.grants(_ADDRESSES, _RULES)

    def fresh() -> Ledger:
        return Ledger(Limits(), [f"rule-{index}" for index in range(_RULES)])

    def plan() -> Callable[[], object]:
        known = fresh()
        return lambda: known.plan(grants, 0.0)

    puts = fresh().plan(grants, 0.0)[0]

    def commit() -> Callable[[], object]:
        known = fresh()
        return lambda: known.commit(puts)

    def held() -> Callable[[], object]:
        known = fresh()
        known.commit(puts)
        return lambda: known.plan(grants, 0.0)

    def pack(count: int) -> Callable[[], object]:
        def packed() -> bytes:
            batch = Batch()
            for put in puts[:count]:
                batch.add(Element(f"{put[0]}_v4", put[1], 3_660_250, comment(to_text(put[3]))))
            return batch.pack(1)

        return packed

    yield Step("ledger.plan", f"{asked}, new", plan)
    yield Step("ledger.plan", f"{asked}, held already", held)
    yield Step("ledger.commit", asked, commit)
    yield Step("elements, packed", f"a full transaction of {MAX_PUTS}", lambda: pack(MAX_PUTS))


def _replies() -> Iterator[Step]:
    question = parse_question(build_query(IDENT, NAME, A))
    records = worst_input.records(_ADDRESSES)

    def rendered(size: int) -> Callable[[], object]:
        return lambda: render(
            question.section, flags=QR, rcode=NOERROR, records=records, edns=True, max_size=size
        )

    template = render(question.section, flags=QR, rcode=NOERROR, records=records, edns=True)
    many = f"{_ADDRESSES} records"
    yield Step("render", f"{many}, TCP", lambda: rendered(MESSAGE_MAX))
    yield Step("render", f"{many}, UDP: does not fit", lambda: rendered(1232))
    yield Step("retold", many, same(partial(retold, template, 7)))
    long = parse_question(build_query(IDENT, b"\x01a" * 127 + b"\0", A))
    verdict = Verdict(Outcome.DENIED, reason="no rule lists it " * 60)
    yield Step("denial", "127 labels, a long reason", same(partial(denial, long, verdict, "nxdomain", 1232)))


def _ledger(leases: int) -> Iterator[Step]:
    def sweep(until: float) -> Callable[[], object]:
        known = worst_input.ledger(leases, until)
        return lambda: known.sweep(1.0)

    known = worst_input.ledger(leases, 2.0)
    one = worst_input.address(leases // 2)
    yield Step("ledger.sweep", f"{leases:,} leases, all alive", lambda: sweep(2.0))
    yield Step("ledger.sweep", f"{leases:,} leases, all lapsed", lambda: sweep(0.5))
    yield Step("ledger.names_of", f"one of {leases:,}", same(partial(known.names_of, one, 1.0)))


def cpu_ms(run: Callable[[], object]) -> tuple[float, bool]:
    """Milliseconds of CPU that one call takes, and whether it refused its input.

    What is done in slices, with the loop's other work between them, counts as its longest slice.
    """
    longest = 0
    begin = time.process_time_ns()
    try:
        made = run()
        slices = made if isinstance(made, Iterator) else iter(())
        while True:
            longest = max(longest, time.process_time_ns() - begin)
            begin = time.process_time_ns()
            next(slices)
    except (StopIteration, WireError) as error:
        longest = max(longest, time.process_time_ns() - begin)
        return longest / 1e6, isinstance(error, WireError)


def main(arguments: Sequence[str] | None = None) -> command.Result:
    """Run the bench; returns what it printed, for the suite's short run."""
    parser = command.parser("the worst of each step", rounds=15)
    parser.add_argument("--leases", type=int, default=_LEASES, help="default %(default)s")
    options = parser.parse_args(arguments)
    figures: list[Figure] = []
    everything = list(steps(options.leases))
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 1000)
    try:
        for turn in range(options.rounds):
            for step in everything:
                took_ms, refused = cpu_ms(step.prepare())
                what = f"{step.what} (refused)" if refused else step.what
                figures.append(Figure(turn, step.subject, what, took_ms, "ms"))
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
    result = command.Result([], over(figures), figures)
    command.finish(result, [figures_table(figures), ""], options)
    return result


def over(figures: Sequence[Figure]) -> list[str]:
    """A remark for each step that even at its best took more than the target allows."""
    best: dict[tuple[str, str], float] = {}
    for figure in figures:
        key = figure.subject, figure.what
        best[key] = min(figure.value, best.get(key, figure.value))
    return [
        f"over {LIMIT_MS:g} ms: {subject}, {what}: {value:.1f} ms"
        for (subject, what), value in best.items()
        if value > LIMIT_MS
    ]


if __name__ == "__main__":
    main()
