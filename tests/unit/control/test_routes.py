"""Every route over the real socket, and every error in the one shape."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynallow.control.client import AnswerError, Client
from dynallow.errors import DynallowError, Fault, KernelError, SettingsError
from dynallow.units import PortRange
from tests.unit.control.agent import MemoryAgent, serving
from tests.unit.control.raw import exchange


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def test_status_with_rule_gives_that_rule(socket: Path) -> None:
    with serving(MemoryAgent(), socket):
        answer = Client(socket).get("/v1/status", rule="api")
    assert [rule["rule"] for rule in answer["rules"]] == ["api"]


def test_status_of_many_leases_arrives_whole(socket: Path) -> None:
    with serving(MemoryAgent(leases=20_000), socket):
        answer = Client(socket).get("/v1/status")
    assert len(answer["rules"][0]["leases"]) == 20_000


def test_status_in_lines_is_for_who_accepts_them_and_the_same_report(socket: Path) -> None:
    with serving(MemoryAgent(), socket):
        (line,) = Client(socket).lines("/v1/status", rule="mirror")
        whole = Client(socket).get("/v1/status", rule="mirror")
        kinds = {}
        for accept in (b"", b"Accept: */*\r\n", b"Accept: application/jsonl\r\n"):
            reply = exchange(socket, b"GET /v1/status HTTP/1.1\r\nHost: x\r\n%b\r\n" % accept)
            kinds[accept] = reply.headers["content-type"]
    assert line == whole
    assert list(kinds.values()) == ["application/json", "application/json", "application/jsonl"]


def test_error_is_the_same_to_who_accepts_lines(socket: Path) -> None:
    with serving(MemoryAgent(), socket), pytest.raises(AnswerError, match="no rule 'none'"):
        list(Client(socket).lines("/v1/status", rule="none"))


def test_answer_of_an_agent_that_knows_no_lines_is_one(socket: Path) -> None:
    with serving(MemoryAgent(), socket):
        (answer,) = Client(socket).lines("/v1/timeline")
    assert answer["points"] == []


def test_explain_words_reach_the_backend_typed(socket: Path) -> None:
    agent = MemoryAgent()
    with serving(agent, socket):
        Client(socket).get("/v1/explain", subject="deb.example.org", port="tcp/80-90", user="33")
    assert agent.asked == [("explain", "deb.example.org", PortRange("tcp", 80, 90), 33)]


def test_flush_without_words_flushes_all(socket: Path) -> None:
    agent = MemoryAgent()
    with serving(agent, socket):
        answer = Client(socket).post("/v1/flush")
    assert agent.asked == [("flush", None, None)]
    assert answer["connections_cut"] == 1


def test_mode_switch_tells_what_it_was(socket: Path) -> None:
    with serving(MemoryAgent(), socket):
        assert Client(socket).post("/v1/mode", mode="observe") == {
            "mode": "observe",
            "was": "enforce",
            "pending": None,
        }


def test_metrics_come_as_prometheus_text(socket: Path) -> None:
    with serving(MemoryAgent(), socket):
        reply = exchange(socket, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b'dynallow_leases{rule="mirror"} 1.0' in reply.body


@pytest.mark.parametrize(
    ("fault", "code", "exit_code"),
    [
        (
            SettingsError([Fault("a.toml", "mode", "expected x, got y"), Fault("b.toml", "", "z")]),
            "settings-invalid",
            3,
        ),
        (KernelError("nf_tables said EPERM", errno=1), "kernel-refused", 6),
        (DynallowError("no"), "failed", 1),
        (RuntimeError("a bug with a secret in its text"), "internal", 1),
    ],
)
def test_backend_error_reaches_the_client_with_its_exit_code(
    socket: Path, fault: Exception, code: str, exit_code: int
) -> None:
    agent = MemoryAgent()
    agent.fault = fault
    with serving(agent, socket), pytest.raises(AnswerError) as caught:
        Client(socket).post("/v1/reload")
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code)
    assert "secret" not in caught.value.message


def test_settings_error_carries_every_fault(socket: Path) -> None:
    agent = MemoryAgent()
    agent.fault = SettingsError([Fault("a.toml", "mode", "one"), Fault("b.toml", "", "two")])
    with serving(agent, socket), pytest.raises(AnswerError) as caught:
        Client(socket).post("/v1/reload")
    assert caught.value.faults == ("a.toml:mode: one", "b.toml: two")
    assert caught.value.message.splitlines()[1:] == list(caught.value.faults)


@pytest.mark.parametrize(
    ("request_line", "body", "status", "code"),
    [
        ("GET /v1/nothing", None, 404, "not-found"),
        ("GET /", None, 404, "not-found"),
        ("GET /v1/status/", None, 404, "not-found"),
        ("POST /v1/status", b"", 405, "method-not-allowed"),
        ("GET /v1/reload", None, 405, "method-not-allowed"),
        ("DELETE /metrics", None, 405, "method-not-allowed"),
        ("GET /v1/status?rul=mirror", None, 400, "unknown-key"),
        ("GET /v1/status?rule=a&rule=b", None, 400, "bad-request"),
        ("GET /v1/status?rule=", None, 400, "bad-request"),
        ("GET /v1/status?rule=none", None, 404, "unknown-rule"),
        ("GET /metrics?x=1", None, 400, "unknown-key"),
        ("GET /v1/explain", None, 400, "bad-request"),
        ("GET /v1/explain?subject=a&port=443", None, 400, "bad-request"),
        ("GET /v1/explain?subject=a&port=tcp/70000", None, 400, "bad-request"),
        ("GET /v1/explain?subject=a&user=root", None, 400, "bad-request"),
        ("GET /v1/explain?subject=a&user=4294967295", None, 400, "bad-request"),
        ("GET /v1/explain?subject=a&user=%C2%B2", None, 400, "bad-request"),
        ("GET /v1/explain?subject=a%20b", None, 400, "bad-request"),
        ("POST /v1/flush", b"{", 400, "bad-json"),
        ("POST /v1/flush", b"[]", 400, "bad-json"),
        ("POST /v1/flush", b"\xff", 400, "bad-json"),
        ("POST /v1/flush", b"[" * 60_000, 400, "bad-json"),
        ("POST /v1/flush", b'{"rule":"a","rule":"b"}', 400, "bad-json"),
        ("POST /v1/flush", b'{"rules":"a"}', 400, "unknown-key"),
        ("POST /v1/flush", b'{"rule":""}', 400, "bad-request"),
        ("POST /v1/flush", b'{"rule":7}', 400, "bad-request"),
        ("POST /v1/mode", b'{"mode":"off"}', 400, "bad-request"),
        ("POST /v1/mode", b"", 400, "bad-request"),
        ("POST /v1/reload", b'{"file":"x"}', 400, "unknown-key"),
        ("POST /v1/flush", b" " * 70_000, 413, "too-large"),
    ],
)
def test_bad_request_gets_the_error_shape_and_changes_nothing(
    socket: Path, request_line: str, body: bytes | None, status: int, code: str
) -> None:
    agent = MemoryAgent()
    with serving(agent, socket):
        reply = exchange(socket, request(request_line, body))
    assert (reply.status, reply.json()["code"]) == (status, code)
    assert reply.json().keys() == {"code", "message", "hint"}
    assert reply.headers["content-type"].startswith("application/json")
    assert [call for call in agent.asked if call[0] not in ("status", "explain")] == []


def request(line: str, body: bytes | None, content_type: str = "application/json") -> bytes:
    head = f"{line} HTTP/1.1\r\nHost: x\r\n"
    if body is None:
        return f"{head}\r\n".encode()
    return f"{head}Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def test_body_of_another_type_is_415(socket: Path) -> None:
    agent = MemoryAgent()
    with serving(agent, socket):
        reply = exchange(
            socket, request("POST /v1/flush", b"rule=mirror", "application/x-www-form-urlencoded")
        )
    assert (reply.status, reply.json()["code"]) == (415, "unsupported-type")
    assert agent.asked == []


def test_wrong_method_tells_the_right_one(socket: Path) -> None:
    with serving(MemoryAgent(), socket):
        reply = exchange(socket, request("GET /v1/flush", None))
    assert reply.headers["allow"] == "POST"
