"""A session on a terminal, as an SVG that shows one line after the other: ``terminal.py FILE.svg``."""

import os
import pty
import re
import subprocess
import sys
import tempfile
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

SESSION = """\
containerfs mount ~/containers
mkdir ~/containers/results
cp -a report/. ~/containers/results/
ls -goR ~/containers
head -n 2 ~/containers/results/table.csv
containerfs get 'results/plots/*.svg' .
containerfs status ~/containers
containerfs unmount ~/containers
"""
FILES = {"table.csv": "run,score\n1,0.93\n2,0.95\n", "plots/score.svg": "<svg/>\n" * 200, "summary.md": "# Summary\n"}
COLUMNS = 96
TYPING, ANSWER, LINE = 1.2, 0.5, 0.06  # seconds: before a command, before what it prints, and between lines

FORMAT = """\
<svg class="terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<title>containerfs on a terminal</title>
<style>
.{unique_id}-matrix {{ font-family: "Fira Code", "DejaVu Sans Mono", monospace; font-size: {char_height}px;
  line-height: {line_height}px }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif }}
{styles}
@keyframes appear {{ from {{ opacity: 0 }} to {{ opacity: 1 }} }}
.{unique_id}-matrix text {{ animation: appear 1ms backwards }}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g></g></svg>
"""


def main(target: Path) -> None:
    """Run the session, and write the picture."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        for name, content in FILES.items():
            path = home / "report" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        for path in [home / "report", *(home / "report").rglob("*")]:
            os.utime(path, (1_790_000_000, 1_790_000_000))
        shown = [(command, run(command, home)) for command in SESSION.splitlines()]
    target.write_text(picture(shown))


def run(command: str, home: Path) -> str:
    """What a command writes to its terminal, as somebody whose home is /home/you would see it."""
    foreign = ("CONTAINERFS_", "OPENAI_", "XDG_")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = ours | {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8", "TZ": "UTC"}
    environment |= {"COLUMNS": str(COLUMNS), "TIME_STYLE": "long-iso"}
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["sh", "-c", command], cwd=home, env=environment, stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    output = b""
    try:
        while part := os.read(master, 65536):
            output += part
    except OSError:  # EIO: nobody has the other end any more
        pass
    finally:
        os.close(master)
    if process.wait(60):
        raise SystemExit(f"{command} ended with {process.returncode}: {output.decode()}")
    text = output.decode().replace("\r\n", "\n").replace(str(home), "/home/you")
    return re.sub(r"process \d+", "process 4711", text.rpartition("\r")[2])


def picture(shown: list[tuple[str, str]]) -> str:
    console = Console(width=COLUMNS, record=True, file=StringIO(), force_terminal=True, color_system="truecolor")
    at, times = 0.0, []
    for command, output in shown:
        at += TYPING
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        times.append(at)
        at += ANSWER
        for line in output.splitlines():
            console.print(Text.from_ansi(line))
            times.append(at)
            at += LINE
    svg = console.export_svg(title="", code_format=FORMAT, unique_id="terminal")
    return _appearing(svg, times)


def _appearing(svg: str, times: list[float]) -> str:
    """The picture with each line appearing at its time."""

    def timed(match: re.Match[str]) -> str:
        return f'{match[0]} style="animation-delay:{times[int(match[1])]:.2f}s"'

    return re.sub(r'clip-path="url\(#terminal-line-(\d+)\)"(?= *>)', timed, svg)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
