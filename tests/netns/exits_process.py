"""Tries the ways out of `exits.py`: `python -m tests.netns.exits_process user|root`.

Says on stdout what became of each: {id: [errno's name or "sent", milliseconds]}.
"""

from __future__ import annotations

import errno
import json
import sys
import time

from tests.netns.exits import WAYS
from tests.netns.wayout import Way


def trial(way: Way) -> tuple[str, float]:
    """What the program that tried sees, and after how long."""
    began = time.monotonic()
    try:
        way.attempt()
    except TimeoutError:
        outcome = "timeout"
    except OSError as error:
        outcome = errno.errorcode.get(error.errno or 0, str(error))
    else:
        outcome = "sent"
    return outcome, (time.monotonic() - began) * 1000


def main() -> None:
    print(json.dumps({way.id: trial(way) for way in WAYS if way.who == sys.argv[1]}))


if __name__ == "__main__":
    main()
