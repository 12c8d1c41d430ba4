"""The page of ``failoverctl history show --html`` in a real browser: it fits, it opens, and it follows the colours."""

import html
import json
import re
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from failoverd.ctl import timeline, timeline_html
from tests.unit.ctl.transitions import EVIL, at, partial

#: Chromium must look for nothing outside this machine.
_CHROMIUM = (
    "chromium",
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

#: The page in a frame of the given width, and a script beside it that opens every step and measures.
_FRAME = """<!DOCTYPE html><meta charset="utf-8"><iframe width="{width}" height="900" srcdoc="{page}"></iframe>
<output></output>
<script>
addEventListener("load", () => {{
  const frame = document.querySelector("iframe"), page = frame.contentDocument;
  const rows = [...page.querySelectorAll("details")];
  const hidden = rows.filter(row => row.querySelector("pre")?.checkVisibility()).length;
  rows.forEach(row => row.querySelector("summary").click());
  const edges = [...page.querySelectorAll("summary svg")].map(svg => [svg, svg.getBoundingClientRect()]);
  document.querySelector("output").textContent = JSON.stringify({{
    width: page.documentElement.scrollWidth,
    rows: rows.length,
    shown: hidden,
    opened: rows.filter(row => row.open).length,
    narrowest: Math.min(...edges.map(([_, box]) => box.width)),
    outside: edges.flatMap(([svg, box]) => [...svg.querySelectorAll("rect")].filter(rect => {{
      const bar = rect.getBoundingClientRect();
      return bar.width < 1 || bar.left < box.left - 1 || bar.right > box.right + 1;
    }})).length,
    text: page.body.innerText,
    back: frame.contentWindow.getComputedStyle(page.body).backgroundColor,
    font: parseFloat(frame.contentWindow.getComputedStyle(page.querySelector("summary")).fontSize),
    scripts: page.scripts.length,
  }});
}});
</script>"""


def measured(directory: Path, width: int, *options: str) -> dict[str, Any]:
    told, now = partial(), datetime.fromisoformat(at(60))
    page = timeline_html.page(told, timeline.timeline(told, now), now)
    file = directory / "frame.html"
    file.write_text(_FRAME.format(width=width, page=html.escape(page)), encoding="utf-8")
    argv = [*_CHROMIUM, f"--user-data-dir={directory}/profile", *options, "--dump-dom", f"file://{file}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    found = re.search(r"<output>(.*?)</output>", done.stdout, re.DOTALL)
    assert found is not None, done.stdout
    result: dict[str, Any] = json.loads(html.unescape(found[1]))
    return result


@pytest.mark.parametrize("width", [390, 1600])
def test_it_fits_the_screen_and_each_step_opens(tmp_path: Path, width: int) -> None:
    seen = measured(tmp_path, width)
    assert seen["width"] <= width
    assert (seen["rows"], seen["shown"], seen["opened"]) == (8, 0, 8)
    assert seen["outside"] == 0
    assert seen["narrowest"] > 0.5 * width
    assert seen["font"] >= 16
    for text in (
        "xl create /etc/xen/web.cfg",
        "running, domain 14",
        "Waited 0.42 s for the VIP, 2.03 s for web-disk.",
    ):
        assert text in seen["text"]


def test_what_a_tool_wrote_is_shown_and_not_run(tmp_path: Path) -> None:
    seen = measured(tmp_path, 800)
    assert seen["scripts"] == 0
    assert EVIL.replace("\x1b", r"\x1b") in seen["text"]
    assert "echo '</pre><script>alert(1)</script>'" in seen["text"]


def test_the_colours_are_those_that_the_reader_prefers(tmp_path: Path) -> None:
    light = measured(tmp_path, 800, "--blink-settings=preferredColorScheme=1")
    dark = measured(tmp_path, 800, "--blink-settings=preferredColorScheme=0")
    assert light["back"] == "rgb(255, 255, 255)"
    assert dark["back"] == "rgb(13, 17, 23)"
