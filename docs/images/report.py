"""The pictures of a report: `make pictures` runs the main job on the embedded model and draws what it shows.

`report.svg` is the terminal, a file that loads nothing from anywhere. `report.png` is the HTML page, drawn by chromium,
which has to be installed.
"""

from __future__ import annotations

import io
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI

import onnx_compress
from onnx_compress.compiler.analysis.cost import Cost
from onnx_compress.compiler.ir.model import Model
from onnx_compress.compiler.report import terminal
from onnx_compress.compiler.report.html import to_html

FOLDER = Path(__file__).parent
MODELS = FOLDER.parents[1] / "models"
COMMAND = "onnx-compress digits.onnx -p prune,quantize -o small.onnx --data train.npz --eval test.npz"


def without_fonts(template: str) -> str:
    """Rich's template without the fonts that it loads from a server."""
    begin, end = template.index("@font-face"), template.index(".{unique_id}-matrix")
    return (template[:begin] + template[end:]).replace(
        "Fira Code, monospace", "ui-monospace, Menlo, Consolas, monospace"
    )


def main() -> None:
    """Run, and write both files."""
    result = onnx_compress.compress(
        MODELS / "digits.onnx",
        "prune,quantize",
        data=str(MODELS / "digits_train.npz"),
        eval_data=str(MODELS / "digits_test.npz"),
    )
    report = replace(result.report, source="digits.onnx", target="small.onnx")
    console = Console(record=True, width=96, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(f"$ {COMMAND}\n", style="bold")
    terminal.show(report, console)
    picture = console.export_svg(
        title="onnx-compress", theme=MONOKAI, code_format=without_fonts(CONSOLE_SVG_FORMAT), unique_id="report"
    )
    (FOLDER / "report.svg").write_text("\n".join(line.rstrip() for line in picture.splitlines()) + "\n")
    sizes = {"image": (1, 1, 8, 8)}
    draw_page(to_html(report, Cost.of(Model.load(MODELS / "digits.onnx"), sizes), Cost.of(result.model, sizes)))


def draw_page(text: str) -> None:
    """Write the upper part of an HTML page as `report.png`."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        page.write_text(text)
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1000,980"]
        picture = f"--screenshot={FOLDER / 'report.png'}"
        subprocess.run(["chromium", *options, picture, page.as_uri()], check=True, capture_output=True)


if __name__ == "__main__":
    main()
