"""The benches still run and their figures are sane. Not how fast anything is.

Knows the benches' command lines. A number is compared only with what no
machine can reach or what every one must: wall time and CPU time prove nothing here.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.bench import figures, gauge, latency, load, peers, profile
from tests.bench.figures import Sample
from tests.bench.workloads import F1, FC, H1, WORKLOADS, Sizes, zone
from tests.lab.needs import require, require_lab

_SIZES = Sizes(hot=5, fresh=4, fresh_in_zone=8, chains=2, chains_in_zone=4)
_REPORT = """\
> NOERROR h0.bench.example.org A 0.001000
> SERVFAIL h1.bench.example.org A 0.000100
> NOERROR h2.bench.example.org A 0.003000
Statistics:

  Queries sent:         4
  Queries completed:    3 (75.00%)
  Queries lost:         1 (25.00%)

  Response codes:       NOERROR 2 (66.67%), SERVFAIL 1 (33.33%)
  Run time (s):         0.500000
"""


def _sample(turn: int, server: str, cpu_us: float) -> Sample:
    return Sample(turn, server, "F1", 10, 0, 0, cpu_us, 0.5, 100.0, None, None, (0.001, 0.002))


def test_peers_short_run_every_answer_right_and_in_its_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_lab()
    require("dnsperf", "dnsmasq", "taskset")
    whole, flat = tmp_path / "samples.json", tmp_path / "samples.csv"
    words = "--rounds 1 --seconds 0.2 --names 200 --chains 50 --peers dynallow,dnsmasq-nftset"
    result = peers.main([*words.split(), "--json", str(whole), "--csv", str(flat)])
    assert {(s.server, s.workload) for s in result.samples} == {
        (server, workload) for server in ("dynallow", "dnsmasq-nftset") for workload in WORKLOADS
    }
    for sample in result.samples:
        assert sample.right > 0, sample
        assert sample.wrong == sample.lost == 0, sample
        assert 1 < sample.cpu_us < 100_000, sample
    by_name = {(s.server, s.workload): s.right for s in result.samples}
    assert by_name["dynallow", "F1"] == by_name["dnsmasq-nftset", "F1"] == 200
    assert by_name["dynallow", "FC"] == by_name["dnsmasq-nftset", "FC"] == 50
    assert not [remark for remark in result.remarks if "not in its set" in remark]
    assert "dnsmasq-nftset" in capsys.readouterr().out
    assert len(json.loads(whole.read_text())) == len(list(csv.DictReader(flat.open()))) == 10


def test_latency_short_run_has_a_latency_for_each_answer() -> None:
    require_lab()
    require("dnsperf", "taskset")
    result = latency.main(["--rounds", "1", "--seconds", "0.3", "--peers", "dynallow"])
    assert {sample.workload for sample in result.samples} == {"H1000", "F1", "FC"}
    for sample in result.samples:
        assert len(sample.latencies_s) == sample.right > 0
        assert all(0 < taken < 5 for taken in sample.latencies_s)


def test_profile_short_run_names_the_road() -> None:
    require_lab()
    require("dnsperf", "taskset")
    shown = profile.main(["--workload", "FC", "--names", "50", "--top", "400"])
    assert "resolver/road.py" in shown


def test_load_report_other_rcodes_do_not_count() -> None:
    answers = load.parse(_REPORT, "NOERROR")
    assert (answers.right, answers.wrong, answers.lost, answers.run_s) == (2, 1, 1, 0.5)
    assert answers.latencies_s == (0.001, 0.003)


def test_load_report_without_statistics_is_refused() -> None:
    with pytest.raises(ValueError, match="expected dnsperf's report"):
        load.parse("connection refused", "NOERROR")


def test_perf_counts_by_place_are_read_apart() -> None:
    counted = "1234,,instructions:u,100,100.00,,\n567,,instructions:k,100,100.00,,\n"
    assert gauge.parse_counts(counted) == (1234, 567)


def test_perf_without_counters_counts_nothing() -> None:
    refused = "<not supported>,,instructions:u,0,100.00,,\n<not counted>,,instructions:k,0,100.00,,\n"
    assert gauge.parse_counts(refused) is None


def test_fresh_names_of_a_round_differ_and_rounds_take_turns() -> None:
    first, second, third = (list(F1.questions(_SIZES, turn)) for turn in range(3))
    assert len(set(first)) == 4
    assert not set(first) & set(second)
    assert third == first
    assert list(H1.questions(_SIZES, 3)) == ["h0.bench.example.org A\n"]


def test_zone_every_address_stands_once() -> None:
    records = [line.split() for line in zone(_SIZES).text().splitlines()]
    addresses = [words[3] for words in records if words[2:3] == ["A"] and words[3].startswith("198.")]
    assert len(addresses) == len(set(addresses)) == 5 + 8 + 4 * FC.addresses


def test_ratios_are_of_the_same_round() -> None:
    samples = [
        _sample(0, "ours", 10),
        _sample(0, "theirs", 20),
        _sample(1, "theirs", 1),
        _sample(2, "ours", 5),
    ]
    assert figures.ratios(samples, "ours", "theirs", "F1", figures.cpu_us) == [0.5]


def test_tables_show_every_server_once() -> None:
    samples = [_sample(turn, server, 10.0) for turn in range(2) for server in ("ours", "theirs")]
    assert figures.peers_table(samples, "theirs").count("theirs ") == 1 + 1
    assert figures.latency_table(samples, "theirs").count("ours ") == 2
