"""Dashboard and alert rules are what Prometheus and Grafana can read, and every alert fires in a test.

That they ask for nothing that the agent does not export: `tests/netns/test_metrics.py`.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from tests.lab.needs import find, require
from tests.lab.queries import DASHBOARD, ROOT, RULES, alert_queries, alerts, asked, dashboard_queries, grouped

TESTED = ROOT / "tests/golden/alerts.test.yml"


def promtool(*words: str) -> str:
    require("promtool")
    result = subprocess.run(
        [find("promtool") or "", *words], capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_alert_rules_are_accepted_by_promtool() -> None:
    told = promtool("check", "rules", str(RULES))
    assert f"{len(alerts()) + 1} rules found" in told  # and one that is recorded


def test_alerts_fire_when_they_should_and_not_before() -> None:
    tested = TESTED.read_text()
    for alert in alerts():
        assert re.search(rf"- alertname: {alert}\b", tested), f"nothing makes {alert} fire"
        assert f"{{alertname: {alert}, " in tested, f"nothing shows when {alert} does not fire"
    promtool("test", "rules", str(TESTED))


def test_dashboards_queries_are_accepted_by_promtool(tmp_path: Path) -> None:
    queries = dashboard_queries()
    assert len(queries) > 40
    rules = [{"record": f"dashboard:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "dashboard.yml"  # JSON is YAML, too
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(queries)} rules found" in promtool("check", "rules", str(file))


def test_dashboards_panels_have_room_and_numbers_of_their_own() -> None:
    board = json.loads(DASHBOARD.read_text())
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


def test_queries_ask_for_are_found_in_a_query() -> None:
    selected = 'dynallow_x_bucket{a="1|2", b=~"u|v", c!="w", d=~"x.*"}'
    query = f"sum by (le, job) (rate({selected}[5m])) > on (job) dynallow_y"
    first, second = asked(query)
    assert first == ("dynallow_x_bucket", {"a": ["1", "2"], "b": ["u", "v"], "c": [], "d": []})
    assert second == ("dynallow_y", {})
    assert grouped(query) == {"le", "job"}
    assert len(alert_queries()) == len(alerts()) + 1
