"""Families become valid Prometheus text, whatever a label holds."""

from __future__ import annotations

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from dynallow.control.metrics import Buckets, Family, Histogram, render


def test_counter_and_gauge_render_with_labels() -> None:
    text = render(
        [
            Family("dynallow_questions_total", "Questions.", "counter", (({"verdict": "allowed"}, 3),)),
            Family("dynallow_up", "Up.", "gauge", (({}, 1),)),
        ]
    ).decode()
    assert "# TYPE dynallow_questions_total counter" in text
    assert 'dynallow_questions_total{verdict="allowed"} 3.0' in text
    assert "\ndynallow_up 1.0" in text


def test_hostile_label_value_reads_back_unchanged() -> None:
    hostile = 'a"b\\c\nd{}\x1b[31m'
    text = render([Family("x", "X.", "gauge", (({"name": hostile}, 1),))]).decode()
    (family,) = text_string_to_metric_families(text)
    assert family.samples[0].labels == {"name": hostile}


def test_family_without_samples_renders_its_head_alone() -> None:
    assert render([Family("x", "X.", "gauge", ())]) == b"# HELP x X.\n# TYPE x gauge\n"


def test_samples_with_other_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="expected labels"):
        render([Family("x", "X.", "gauge", (({"a": "1"}, 1), ({"b": "1"}, 1)))])


def test_render_registers_nothing_globally() -> None:
    render([Family("dynallow_private", "X.", "gauge", (({}, 1),))])
    assert "dynallow_private" not in {family.name for family in REGISTRY.collect()}


def test_histogram_renders_buckets_that_add_up_sum_and_count() -> None:
    measured = Buckets((0.00001, 0.5, 2.5), (1, 2, 0, 3), 12.5)
    text = render([Histogram("dynallow_step_seconds", "Steps.", (({"step": "kernel"}, measured),))]).decode()
    assert "# TYPE dynallow_step_seconds histogram" in text
    assert 'dynallow_step_seconds_bucket{le="0.00001",step="kernel"} 1.0' in text
    assert 'dynallow_step_seconds_bucket{le="0.5",step="kernel"} 3.0' in text
    assert 'dynallow_step_seconds_bucket{le="2.5",step="kernel"} 3.0' in text
    assert 'dynallow_step_seconds_bucket{le="+Inf",step="kernel"} 6.0' in text
    assert 'dynallow_step_seconds_count{step="kernel"} 6.0' in text
    assert 'dynallow_step_seconds_sum{step="kernel"} 12.5' in text
    (family,) = text_string_to_metric_families(text)
    assert family.type == "histogram"


def test_histogram_with_a_bucket_too_few_is_refused() -> None:
    with pytest.raises(ValueError):
        render([Histogram("x", "X.", (({}, Buckets((1.0, 2.0), (1, 2), 3.0)),))])
