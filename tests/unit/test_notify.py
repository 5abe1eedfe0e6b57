"""What the service manager is told, read from a real socket as systemd reads it."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynallow.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(30)
        yield sock


def told(manager: socket.socket) -> dict[str, str]:
    return dict(line.split("=", 1) for line in manager.recv(4096).decode().split("\n"))


def test_notifier_tells_each_state_in_systemds_words(manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    notifier.ready("mode enforce")
    assert told(manager) == {"READY": "1", "STATUS": "mode enforce"}
    before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    reloading = told(manager)
    assert reloading["RELOADING"] == "1"
    assert before_us <= int(reloading["MONOTONIC_USEC"]) <= before_us + 5_000_000
    notifier.beat()
    assert told(manager) == {"WATCHDOG": "1"}
    notifier.status("two\nlines=READY=1")
    assert told(manager) == {"STATUS": "two lines=READY=1"}
    notifier.stopping()
    assert told(manager)["STOPPING"] == "1"
    notifier.close()
    notifier.beat()
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(1)


def test_notifier_abstract_address_is_one_with_a_nul() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"dynallow-test-{os.getpid()}"
        manager.bind(f"\0{name}")
        manager.settimeout(30)
        notifier = Notifier({"NOTIFY_SOCKET": f"@{name}"})
        notifier.beat()
        assert told(manager) == {"WATCHDOG": "1"}
        notifier.close()


def test_notifier_variables_are_not_for_children(manager: socket.socket) -> None:
    environ = {
        "NOTIFY_SOCKET": manager.getsockname(),
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": str(os.getpid()),
        "PATH": "/bin",
    }
    notifier = Notifier(environ)
    assert environ == {"PATH": "/bin"}
    assert notifier.watchdog_s == 30.0
    notifier.close()


@pytest.mark.parametrize(
    ("period", "pid"), [("30000000", "1"), ("", None), ("soon", None), ("0", None), ("-1", None), ("²", None)]
)
def test_notifier_watchdog_of_another_process_or_without_a_period_is_none(
    manager: socket.socket, period: str, pid: str | None
) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": period}
    notifier = Notifier(environ if pid is None else {**environ, "WATCHDOG_PID": pid})
    assert notifier.watchdog_s == 0
    notifier.close()


def test_notifier_without_a_manager_tells_nobody_and_watches_nothing() -> None:
    notifier = Notifier({"WATCHDOG_USEC": "30000000"})
    assert notifier.watchdog_s == 0
    notifier.ready("")
    notifier.close()


def test_notifier_manager_that_is_gone_or_does_not_read_holds_nothing_up(
    manager: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    with caplog.at_level(logging.WARNING):
        began = time.monotonic()
        while not caplog.records:  # until its queue is full
            notifier.beat()
            assert time.monotonic() - began < 5
        assert "WATCHDOG=1" in caplog.text
        os.unlink(manager.getsockname())
        caplog.clear()
        notifier.beat()
        assert "No such file" in caplog.text
    notifier.close()
