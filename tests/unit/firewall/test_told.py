"""What of the kernel's counters is new: nothing twice, nothing negative, and all that can be told."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynallow.firewall.counted import Counted
from dynallow.firewall.told import Epoch, Seen, Told, unpack

NAME, KEY = "denied_flows_v4", b"k" * 16
BOOT, OTHER_BOOT = b"b" * 16, b"o" * 16
SIZES = {NAME: 16, "used_flows_v6": 28}
LASTS_S = 100.0
ONE: Epoch = (7, 3)


class Kernel:
    """An element that lapses when it has not been counted in for `LASTS_S`, and who looks at it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.packets = 0
        self.lapses = 0.0
        self.epoch = ONE
        self.carried = False
        self.told = Told()
        self.whole = True

    def count(self, packets: int = 1) -> None:
        if self.lapses <= self.now:
            self.packets, self.carried = 0, False
        self.packets += packets
        self.lapses = self.now + LASTS_S

    def later(self, seconds: float) -> None:
        self.now += seconds

    def read(self, *, stood_still_s: float = 0.0) -> int:
        """`stood_still_s`: how long it took from asking to having the answer's time."""
        self.told.look()
        if self.lapses <= self.now:
            self.told.forget(NAME, self.now, whole=self.whole)
            return 0
        left = round((self.lapses - self.now) * 1000)
        flow = Counted(KEY, self.packets, 60 * self.packets, left, self.carried)
        seen = Seen([flow], self.now - 0.001, self.now + stood_still_s)
        found = list(self.told.take(NAME, seen, self.epoch))
        assert len(found) <= 1, "nothing is told of what has nothing new"
        _, packets, octets = found[0] if found else (KEY, 0, 0)
        assert octets == 60 * packets
        self.told.forget(NAME, self.now, whole=self.whole)
        return packets

    def made_anew(self, *, carried: bool) -> None:
        self.epoch = (self.epoch[0] + 1, 3)
        self.carried = carried
        if not carried:
            self.packets, self.lapses = 0, 0.0


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


def test_take_tells_what_was_added_since(kernel: Kernel) -> None:
    kernel.count(3)
    assert kernel.read() == 3
    assert kernel.read() == 0
    kernel.later(5)
    kernel.count(2)
    assert kernel.read() == 2


@pytest.mark.parametrize("whole", [True, False])
def test_take_element_that_lapsed_is_told_whole_when_it_comes_again(kernel: Kernel, whole: bool) -> None:
    kernel.whole = whole
    kernel.count(5)
    assert kernel.read() == 5
    kernel.later(LASTS_S + 1)
    for _ in range(1 if whole else 3):  # looks that it is not in
        assert kernel.read() == 0
        kernel.later(1)
    assert kernel.told.count(NAME) == 0, "what is gone is not kept"
    kernel.count(8)
    assert kernel.read() == 8


@pytest.mark.parametrize("packets", [1, 4, 5])
def test_take_element_that_lapsed_between_two_looks_is_told_whole(kernel: Kernel, packets: int) -> None:
    """Less than it had, or as much: what is as much, and was counted in, can only have begun anew."""
    kernel.count(5)
    kernel.later(50)
    assert kernel.read() == 5
    kernel.later(LASTS_S - 49)
    kernel.count(packets)
    assert kernel.read() == packets


def test_take_what_may_be_either_is_told_once_at_most(kernel: Kernel) -> None:
    """Seven after five may be two more, or seven anew."""
    kernel.count(5)
    assert kernel.read() == 5
    kernel.later(LASTS_S + 1)
    kernel.count(7)
    assert kernel.read() == 2


def test_take_equal_count_of_an_element_that_could_not_have_lapsed_is_nothing_new(kernel: Kernel) -> None:
    """A dump reads the counter, a packet comes, the dump reads the life that this has prolonged."""
    kernel.count(5)
    assert kernel.read() == 5
    kernel.later(5)
    kernel.lapses = kernel.now + LASTS_S
    assert kernel.read() == 0


@pytest.mark.parametrize(("first_s", "second_s"), [(0.0, 30.0), (30.0, 0.0), (30.0, 30.0), (300.0, 300.0)])
def test_take_reader_that_stood_still_takes_nothing_for_new(
    kernel: Kernel, first_s: float, second_s: float
) -> None:
    kernel.count(5)
    assert kernel.read(stood_still_s=first_s) == 5
    kernel.later(LASTS_S - 1)
    assert kernel.read(stood_still_s=second_s) == 0
    kernel.count(1)
    assert kernel.read() == 1


def test_take_table_made_anew_with_its_elements_goes_on(kernel: Kernel) -> None:
    kernel.count(5)
    assert kernel.read() == 5
    kernel.made_anew(carried=True)
    kernel.count(2)
    assert kernel.read() == 2
    kernel.made_anew(carried=True)
    kernel.packets -= 1  # counted between the reading of the old table and the making of the new one
    assert kernel.read() == 0
    kernel.count(3)
    assert kernel.read() == 3


@pytest.mark.parametrize("packets", [1, 5, 9])
def test_take_table_made_anew_without_its_elements_begins_anew(kernel: Kernel, packets: int) -> None:
    kernel.count(5)
    assert kernel.read() == 5
    kernel.made_anew(carried=False)
    kernel.count(packets)
    assert kernel.read() == packets


def test_take_carried_element_that_nobody_knew_is_told_whole(kernel: Kernel) -> None:
    kernel.count(5)
    kernel.made_anew(carried=True)
    assert kernel.read() == 5


def test_take_element_that_looks_passed_over_is_not_told_again(kernel: Kernel) -> None:
    kernel.count(5)
    assert kernel.read() == 5
    kernel.later(LASTS_S - 1)
    kernel.count()
    kernel.later(2)
    for _ in range(2):  # its time, as far as it is known, is over
        kernel.told.look()
        kernel.told.forget(NAME, kernel.now, whole=False)
    assert kernel.read() == 1


def test_forget_element_whose_time_is_not_over_stays_known(kernel: Kernel) -> None:
    kernel.count(5)
    assert kernel.read() == 5
    kernel.later(LASTS_S - 1)
    for _ in range(9):
        kernel.told.look()
        kernel.told.forget(NAME, kernel.now, whole=True)
    assert kernel.read() == 0


def test_take_same_element_twice_in_a_look_is_told_once(kernel: Kernel) -> None:
    """A set that is made larger while it is dumped gives some of them twice."""
    kernel.count(5)
    flow = Counted(KEY, 5, 300, 90_000, False)
    more = flow._replace(packets=7, octets=420)
    assert list(kernel.told.take(NAME, Seen([flow, flow, more], 0.0, 0.1), ONE)) == [
        (KEY, 5, 300),
        (KEY, 2, 120),
    ]


def test_total_counts_on_when_the_counter_begins_again() -> None:
    told = Told()
    assert [told.total(denied) for denied in (3, 10, 2, 2, 4)] == [3, 10, 12, 12, 14]
    again = unpack(told.pack(BOOT), BOOT, SIZES)
    assert [again.total(denied) for denied in (5, 1)] == [15, 16]


def test_unpack_marks_tell_the_next_agent_what_was_told(kernel: Kernel) -> None:
    kernel.count(5)
    assert kernel.read() == 5
    kernel.told = unpack(kernel.told.pack(BOOT), BOOT, SIZES)
    kernel.later(5)
    kernel.count(2)
    assert kernel.read() == 2
    kernel.told = unpack(kernel.told.pack(BOOT), BOOT, SIZES)
    kernel.later(LASTS_S + 1)
    kernel.count(7)
    assert kernel.read() == 7


@pytest.mark.parametrize("boot", [OTHER_BOOT, b""])
def test_unpack_marks_of_another_boot_say_nothing(kernel: Kernel, boot: bytes) -> None:
    kernel.count(5)
    kernel.read()
    kernel.told = unpack(kernel.told.pack(BOOT), boot, SIZES)
    assert kernel.read() == 5


def test_pack_without_a_boot_gives_no_marks(kernel: Kernel) -> None:
    assert kernel.told.pack(b"") == b""
    assert unpack(b"", b"", SIZES).count(NAME) == 0


@given(st.data())
def test_unpack_damaged_marks_say_nothing(data: st.DataObject) -> None:
    kernel = Kernel()
    kernel.count(5)
    kernel.read()
    marks = kernel.told.pack(BOOT)
    cut = data.draw(st.integers(0, len(marks) - 1))
    assert unpack(marks[:cut], BOOT, SIZES).count(NAME) == 0
    at, other = data.draw(st.integers(0, len(marks) - 1)), data.draw(st.integers(1, 255))
    damaged = bytes((*marks[:at], marks[at] ^ other, *marks[at + 1 :]))
    assert unpack(damaged, BOOT, SIZES).count(NAME) == 0
    assert unpack(marks, BOOT, {}).count(NAME) == 0, "of sets that are no more"


@dataclass(frozen=True)
class Act:
    what: str
    number: int


_acts = st.lists(
    st.one_of(
        st.builds(Act, st.just("count"), st.integers(1, 9)),
        st.builds(Act, st.just("later"), st.integers(1, 250)),
        st.builds(Act, st.sampled_from(["read", "anew", "carried", "restart", "crowd", "calm"]), st.just(0)),
    ),
    max_size=40,
)


@given(_acts)
def test_take_whatever_happens_nothing_is_told_twice_and_what_is_read_in_time_is_told_once(
    acts: list[Act],
) -> None:
    kernel, counted, told = Kernel(), 0, 0
    lost = False
    for act in acts:
        match act.what:
            case "count":
                kernel.count(act.number)
                counted += act.number
            case "later":
                # A reader that looks often enough: before anything can lapse unseen, and after.
                for _ in range(act.number // 30):
                    kernel.later(30)
                    told += kernel.read()
            case "read":
                told += kernel.read()
            case "anew":
                lost = lost or told < counted
                kernel.made_anew(carried=False)
            case "carried":
                kernel.made_anew(carried=True)
            case "crowd" | "calm":
                kernel.whole = act.what == "calm"
                lost = lost or not kernel.whole
            case "restart":
                kernel.told = unpack(kernel.told.pack(BOOT), BOOT, SIZES)
        assert told <= counted
    told += kernel.read()
    assert told <= counted
    assert told == counted or lost
