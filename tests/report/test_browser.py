"""The report in a real browser: nothing is fetched, nothing complains, every picture loads."""

import json
import re
import shutil
import subprocess

import pytest
from stored_runs import store_run

from zsas_jax.report.compare import compare
from zsas_jax.report.write import write_reports

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")

# Says in the page what the browser made of it.
PROBE = """<script>
addEventListener("load", () => {
  const pictures = [...document.images];
  const wide = [...document.querySelectorAll("body *")].filter(e => {
    const box = e.getBoundingClientRect();
    return box.width && box.right > innerWidth + 1 && !e.closest(".scroll, pre");
  });
  document.body.innerHTML = "<pre>PROBE" + JSON.stringify({
    width: innerWidth,
    pictures: pictures.length,
    broken: pictures.filter(p => !p.complete || !p.naturalWidth).length,
    fetched: performance.getEntriesByType("resource").map(r => r.name)
      .filter(name => !name.startsWith("data:")),
    wide: wide.map(e => e.tagName + " " + e.getAttribute("class")),
  }) + "PROBE</pre>";
});
</script></body>"""


def look(page, directory, width):
    """What the page shows in a window of this width, and the browser's console."""
    probed = directory / f"probed-{width}.html"
    probed.write_text(page.read_text("utf-8").replace("</body>", PROBE), "utf-8")
    outer = directory / f"outer-{width}.html"
    # Headless windows are at least 500 pixels wide; a frame may be narrower.
    outer.write_text(
        f'<iframe id="f" src="{probed.name}" width="{width}" height="900" style="border:0">'
        "</iframe><script>addEventListener('load', () => setTimeout(() => document.body.append("
        "document.getElementById('f').contentDocument.body.innerText), 50))</script>"
    )
    done = subprocess.run(
        [
            BROWSER,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--allow-file-access-from-files",
            f"--user-data-dir={directory / 'profile'}",
            "--enable-logging=stderr",
            "--window-size=1400,1000",
            "--virtual-time-budget=10000",
            "--dump-dom",
            outer.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    found = json.loads(re.search(r"PROBE(\{.*?\})PROBE", done.stdout)[1])
    return found, console


@pytest.mark.parametrize("width", [390, 1280])
def test_reports_in_a_browser(tmp_path, width):
    runs = [
        store_run(tmp_path / "mtd" / "umci"),
        store_run(tmp_path / "mtd" / "cascade", "cascade", shift=0.1),
    ]
    report = write_reports(runs, tmp_path / "mtd")[0]
    compare(*runs, tmp_path)
    for page, pictures in ((report, 30), (tmp_path / "comparison.html", 9)):
        found, console = look(page, tmp_path, width)
        assert found == {
            "width": width,
            "pictures": pictures,
            "broken": 0,
            "fetched": [],
            "wide": [],
        }
        assert console == []
