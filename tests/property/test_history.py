"""However counts fall into batches, minutes, failures and restarts, what is told of them adds up.

The model is a counter by subject. What there was no room for is told as untold, and counts too.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from dynallow.settings import Settings
from dynallow.sight.history import MINUTES_FOR_S, History
from dynallow.sight.keeping import Keeping
from dynallow.sight.reading import HOUR_S
from dynallow.sight.unwritten import Unwritten, is_untold
from dynallow.usage.record import Record
from tests.unit.sight.subjects import MINUTE, question

subjects = st.sampled_from([question(f"n{number}.example") for number in range(6)])
adds = st.tuples(subjects, st.integers(1, 1000), st.floats(0.0, 3.0 * HOUR_S))
steps = st.lists(st.one_of(adds, st.sampled_from(["write", "fail", "restart", "tidy"])), max_size=40)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@settings(max_examples=25, deadline=None)
@given(steps, st.integers(2, 10))
def test_sums_are_exact_however_batches_fall(steps: list[object], room: int) -> None:
    model: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "history.db"
        clock = Clock()

        def begin() -> Keeping:
            keeping = Keeping(path, Settings, clock, lambda: MINUTE + clock.now)
            keeping._unwritten = Unwritten(room)
            keeping.begin()
            return keeping

        keeping = begin()
        for step in steps:
            clock.now += 1.0
            if isinstance(step, tuple):
                subject, times, after = step
                keeping.add([Record(subject, times, MINUTE + after, MINUTE + after)])
                model[subject.name] += times
            elif step == "tidy":
                history = History(path, 1e9, 1 << 26)
                history.tidy(MINUTE + MINUTES_FOR_S + 2 * HOUR_S)
                history.close()
            else:
                keeping.take([], b"marks")
                if step == "fail":
                    write, keeping._history._write = keeping._history._write, _full  # type: ignore[method-assign]
                    keeping.write()
                    keeping._history._write = write  # type: ignore[method-assign]
                else:
                    keeping.write()
                if step == "restart":
                    keeping.close()
                    keeping = begin()
            assert sum(one.times for one in keeping.window(0.0, 1e12)) == model.total()
            assert sum(step[3] for step in keeping.steps(0, 60)) == model.total()
        found: Counter[str] = Counter()
        lost = 0
        for one in keeping.window(0.0, 1e12):
            if is_untold(one.subject):
                lost += one.times
            else:
                found[one.subject.name] += one.times
        keeping.close()
    assert all(found[name] <= model[name] for name in found)
    assert found.total() + lost == model.total()


def _full(batch: object) -> None:
    raise OSError(28, "No space left on device")
