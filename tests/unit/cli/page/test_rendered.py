"""The page in headless Chromium: nothing sticks out on any width, nothing is refused, and it prints.

Slow, because Chromium takes 20 s to install; what can be read without it is in `test_page.py`.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from dynallow.cli.page.page import page
from tests.lab.needs import find, require
from tests.unit.cli.page.reports import ready_or_not, row, status, told

pytestmark = pytest.mark.slow
# No network: what it would ask its maker for at each start must not hold it up.
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
)
# In a copy without the page's own policy, which forbids scripts.
_MEASURE = """<script>
const wide = document.documentElement.clientWidth;
const out = [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > wide + 1);
document.title = JSON.stringify({wide, whole: document.documentElement.scrollWidth,
    out: out.map(e => e.outerHTML.slice(0, 80)), high: document.body.scrollHeight});
</script></body>"""


def chromium(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    require("chromium")
    profile = tmp_path / "profile"
    argv = [find("chromium") or "", *_FLAGS, f"--user-data-dir={profile}", *words]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=300)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A page with long words everywhere."""
    long = "a-name-that-is-longer-than-any-column-is-wide." * 4 + "example"
    rows = [
        row(name=f"{number}.{long}", count=number, user=number, process="p" * 15) for number in range(1, 15)
    ]
    rows += [
        row("flow", address=f"2001:db8::{number:x}:ffff:ffff", port="tcp/65535", name=long)
        for number in range(9)
    ]
    observing = {**status(long), "mode": "observe"}
    path = tmp_path / "report.html"
    path.write_text(page(told(rows, long, status=observing, readiness=ready_or_not(long, "curl"))))
    return path


@pytest.mark.parametrize("width", [500, 1200])  # less than 500 Chromium's window cannot be
def test_page_fits_the_width(tmp_path: Path, file: Path, width: int) -> None:
    text = file.read_text()
    policy = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
    assert policy.search(text)
    copy = tmp_path / "measured.html"
    copy.write_text(policy.sub("", text).replace("</body>", _MEASURE))
    dom = chromium(tmp_path, f"--window-size={width},900", "--dump-dom", f"file://{copy}").stdout
    found = re.search(r"<title>(\{.*?\})</title>", dom)
    assert found, dom[:500]
    measured = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert measured["out"] == []
    assert measured["whole"] == measured["wide"]
    assert measured["high"] > 900


def test_page_is_drawn_and_nothing_of_it_refused(tmp_path: Path, file: Path) -> None:
    picture = tmp_path / "page.png"
    ran = chromium(tmp_path, "--window-size=1200,900", f"--screenshot={picture}", f"file://{file}")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 30_000  # an empty page of that size is 5 kB
    assert "CONSOLE" not in ran.stderr  # where refusals of the page's policy are told


def test_page_prints(tmp_path: Path, file: Path) -> None:
    printed = tmp_path / "page.pdf"
    chromium(tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={printed}", f"file://{file}")
    pages = len(re.findall(rb"/Type\s*/Page\b", printed.read_bytes()))
    assert 1 < pages < 30
