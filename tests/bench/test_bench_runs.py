"""The benches still run and their figures are sane. Not how fast anything is.

Knows the benches' command lines. A number is compared only with what no
machine can reach or what every one must: wall time and CPU time prove nothing here.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynallow.errors import WireError
from dynallow.wire.numbers import MESSAGE_MAX
from tests.bench import (
    figures,
    footprint,
    gauge,
    latency,
    load,
    mixed,
    peers,
    profile,
    scale,
    steps,
    tcp,
    worst_input,
)
from tests.bench.figures import Figure, Sample
from tests.bench.workloads import DU, F1, FC, H1, WORKLOADS, Sizes, zone
from tests.lab.needs import ROOT, require, require_lab

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
    return Sample(turn, server, "F1", 10, 0, 0, cpu_us, 0.5, 100.0, None, None, 10, (0.001, 0.002))


def test_peers_short_run_every_answer_right_and_in_its_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_lab()
    require("dnsperf", "dnsmasq", "taskset")
    whole, flat = tmp_path / "samples.json", tmp_path / "samples.csv"
    words = "--rounds 1 --seconds 0.2 --names 200 --chains 50 --denied 200 --peers dynallow,dnsmasq-nftset"
    result = peers.main([*words.split(), "--json", str(whole), "--csv", str(flat)])
    assert {(s.server, s.workload) for s in result.samples} == {
        (server, workload) for server in ("dynallow", "dnsmasq-nftset") for workload in WORKLOADS
    }
    for sample in result.samples:
        assert sample.right > 0, sample
        assert sample.wrong == sample.lost == 0, sample
        assert 1 < sample.cpu_us < 100_000, sample
    by_name = {(s.server, s.workload): s.right for s in result.samples}
    for workload, asked in (("DU", 200), ("F1", 200), ("FC", 50)):
        assert by_name["dynallow", workload] == by_name["dnsmasq-nftset", workload] == asked
    assert not [remark for remark in result.remarks if "not in its set" in remark]
    assert "dnsmasq-nftset" in capsys.readouterr().out
    assert len(json.loads(whole.read_text())) == len(list(csv.DictReader(flat.open()))) == 12


def test_peers_short_run_smartdns_where_there_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Its `--nftset` loses answers under load (DESIGN's own figures say so): only what is hot or denied."""
    require_lab()
    require("dnsperf", "taskset")
    words = "--rounds 1 --seconds 0.2 --denied 100 --peers reflector,smartdns --workloads H1,D,DU"
    result = peers.main(words.split())
    left_out = "left out: smartdns (smartdns is not installed)" in capsys.readouterr().err
    servers = {"reflector"} if left_out else {"reflector", "smartdns"}
    assert {(s.server, s.workload) for s in result.samples} == {
        (server, workload) for server in servers for workload in ("H1", "D", "DU")
    }
    assert all(sample.right > 0 == sample.wrong for sample in result.samples), result.samples


def test_latency_short_run_has_a_latency_for_each_answer() -> None:
    require_lab()
    require("dnsperf", "taskset")
    result = latency.main(["--rounds", "1", "--seconds", "0.3", "--peers", "dynallow"])
    assert {sample.workload for sample in result.samples} == {"H1000", "D", "F1", "FC"}
    for sample in result.samples:
        assert len(sample.latencies_s) == sample.right > 0
        assert all(0 < taken < 5 for taken in sample.latencies_s)


def test_mixed_short_run_tells_the_hot_ones_apart() -> None:
    require_lab()
    require("dnsperf", "taskset")
    words = "--rounds 1 --seconds 0.5 --first 1000 --pairs 1 --peers dynallow"
    result = mixed.main(words.split())
    saturation, alone, mix = result.samples
    assert [s.workload for s in result.samples] == ["saturation", "alone", "mix"]
    assert saturation.right == 1000
    assert len(alone.latencies_s) == alone.right > 0
    assert len(mix.latencies_s) * 100 == mix.right * mixed.HOT
    assert all(s.wrong == s.lost == 0 for s in result.samples)
    assert not [remark for remark in result.remarks if "not in its set" in remark]
    assert [figure.what for figure in result.figures] == ["saturation"]


def test_scale_short_run_ledger_and_set_hold_every_lease() -> None:
    require_lab()
    require("dnsperf", "taskset")
    result = scale.main(["--rounds", "1", "--seconds", "0.2", "--names", "50", "--leases", "1000"])
    assert {(s.server, s.workload) for s in result.samples} == {
        (server, workload) for server in ("100 leases", "1,000 leases") for workload in ("H1000", "F1")
    }
    assert not [remark for remark in result.remarks if " holds " in remark or "not in its set" in remark]
    kinds = ("wall", "CPU", "peak")
    told = {f"{verb}, {kind}" for verb in ("status", "status --json") for kind in kinds}
    for subject in ("100 leases", "1,000 leases"):
        found = {figure.what: figure.value for figure in result.figures if figure.subject == subject}
        assert found.keys() == {*told, "agent, resident", "agent, peak meanwhile"}
        assert all(value > 0 for value in found.values()), found
        assert found["agent, peak meanwhile"] >= found["agent, resident"]


def test_tcp_short_run_every_question_is_answered_whole() -> None:
    require_lab()
    result = tcp.main(["--rounds", "1", "--questions", "50"])
    assert len({figure.subject for figure in result.figures}) == 5
    assert all(1 < figure.value < 100_000 for figure in result.figures)
    assert not result.remarks


def test_footprint_short_run_every_figure_is_there() -> None:
    require_lab()
    result = footprint.main(["--rounds", "1", "--idle", "0.2", "--leases", "50"])
    for subject in ("0 leases", "50 leases"):
        found = {figure.what: figure.value for figure in result.figures if figure.subject == subject}
        assert found["resident"] >= found["proportional share"] >= found["not shared"] > 0
        assert 0 <= found["idle"] < 100
        for what in ("first answer", "status", "status --json"):
            assert found[f"{what}, CPU"] > 0
            assert 0 < found[f"{what}, wall"] < 60


def test_steps_short_run_names_each_step_and_what_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    result = steps.main(["--rounds", "1", "--leases", "1000"])
    shown = capsys.readouterr().out
    assert {figure.subject for figure in result.figures} >= {"parse_in_slices", "walk", "render", "retold"}
    assert all(figure.value > 0 for figure in result.figures)
    assert all(figure.what in shown for figure in result.figures)


@pytest.mark.parametrize("kind", worst_input.MESSAGES)
def test_worst_message_is_as_large_as_one_can_be_and_read_as_meant(kind: str) -> None:
    packet = worst_input.MESSAGES[kind]()
    assert 0.9 * MESSAGE_MAX < len(packet) <= MESSAGE_MAX
    if kind in worst_input.REFUSED:
        with pytest.raises(WireError):
            steps.parse(packet)
    else:
        assert steps.parse(packet).answer or kind == "additional records"


def test_step_over_the_limit_is_told_by_its_best_round() -> None:
    slow, quick = ([Figure(turn, name, "x", value, "ms") for turn, value in enumerate(values)]
                   for name, values in (("slow", (3.0, 2.0)), ("quick", (9.0, 0.5))))  # fmt: skip
    assert steps.over([*slow, *quick]) == ["over 1 ms: slow, x: 2.0 ms"]


def test_step_in_slices_counts_as_its_longest_slice() -> None:
    def slices() -> Iterator[None]:
        for _ in range(10):
            sum(range(50_000))
            yield

    sliced, whole = (min(steps.cpu_ms(run)[0] for _ in range(5)) for run in (slices, lambda: list(slices())))
    assert 0 < sliced < whole / 2
    assert steps.cpu_ms(lambda: steps.parse(b""))[1], "a refused input"


def test_every_bench_is_a_part_of_make_bench() -> None:
    place = Path(__file__).parent
    programs = {file.stem for file in place.glob("*.py") if "\nif __name__ ==" in file.read_text()}
    line = next(
        text for text in (ROOT / "Makefile").read_text().splitlines() if text.startswith("benches :=")
    )
    started_by_others = {"profiled_agent", "reflector", "timed"}
    assert programs - started_by_others - {"profile"} == set(line.split()[2:])


def test_profile_short_run_names_the_road() -> None:
    require_lab()
    require("dnsperf", "taskset")
    shown = profile.main(["--workload", "FC", "--names", "50", "--top", "400"])
    assert "resolver/road.py" in shown


def test_profile_by_stalls_short_run_names_what_the_loop_runs() -> None:
    require_lab()
    require("dnsperf", "taskset")
    words = "--workload F1 --names 50 --by stalls --top 400"
    shown = profile.main(words.split())
    assert "UdpListener" in shown
    longest = [float(line.split()[0]) for line in shown.splitlines()[3:]]
    assert longest == sorted(longest, reverse=True)
    assert longest[0] > 0


def test_load_report_other_rcodes_do_not_count() -> None:
    answers = load.parse(_REPORT, "NOERROR")
    assert (answers.right, answers.wrong, answers.lost, answers.run_s) == (2, 1, 1, 0.5)
    assert answers.latencies_s == (0.001, 0.003)
    assert answers.each[1] == ("SERVFAIL", "h1.bench.example.org", 0.0001)
    assert answers.rcodes == {"NOERROR": 2, "SERVFAIL": 1}


def test_load_report_without_statistics_is_refused() -> None:
    with pytest.raises(ValueError, match="expected dnsperf's report"):
        load.parse("connection refused", "NOERROR")


def test_perf_counts_by_place_are_read_apart() -> None:
    counted = "# started on Sat\n\n1234,,instructions:u,100,100.00,,\n567,,instructions:k,100,100.00,,\n"
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


def test_made_up_denied_names_never_repeat() -> None:
    first, second = (list(DU.questions(Sizes(denied=1000), turn)) for turn in range(2))
    assert len({*first, *second}) == 2000
    assert all(line.endswith(".denied.example.net A\n") for line in first)


def test_mixed_hundred_holds_each_kind_and_no_fresh_name_twice() -> None:
    asked = list(mixed.Mixer(Sizes(), 0).mix(1000))
    kinds = [line[0] for line in asked[:100]]
    assert (kinds.count("h"), kinds.count("n"), kinds.count("d")) == (95, 4, 1)
    fresh = [line for line in asked if line[0] == "n"]
    assert len(set(fresh)) == len(fresh) == 40


def test_mixed_answers_are_judged_by_their_names() -> None:
    each = (
        load.Each("NOERROR", "h1.bench.example.org", 0.1),
        load.Each("NXDOMAIN", "h2.bench.example.org", 0.2),
        load.Each("NXDOMAIN", "d1.denied.example.net", 0.3),
        load.Each("NOERROR", "d2.denied.example.net", 0.4),
        load.Each("NOERROR", "n1.bench.example.org", 0.5),
    )
    told, fresh = mixed.judge(load.Answers(3, 2, 0, 1.0, (), each, {}), "NXDOMAIN")
    assert (told.right, told.wrong, told.latencies_s, fresh) == (3, 2, (0.1,), 1)


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


def test_mixed_ratio_is_of_the_same_servers_hot_ones_alone() -> None:
    samples = [
        _sample(turn, "ours", 1.0)._replace(workload=kind, latencies_s=(taken,))
        for turn, (alone, mix) in enumerate([(0.001, 0.002), (0.003, 0.009), (0.001, 0.004)])
        for kind, taken in (("alone", alone), ("mix", mix))
    ]
    assert "    2.00    3.00    4.00 " in figures.mixed_table(samples, "ours")


def test_figures_of_all_rounds_are_one_line_with_its_target() -> None:
    rounds = [Figure(turn, "10 leases", "start", value, "s") for turn, value in enumerate((3.0, 1.0, 2.0))]
    (line,) = figures.figures_table(rounds, {"start": "1 s"}).splitlines()[1:]
    assert line.split() == ["10", "leases", "start", "1", "2", "3", "s", "target:", "1", "s"]
