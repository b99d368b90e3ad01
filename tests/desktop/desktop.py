"""A desktop that nobody sits at: a screen in memory, a window manager, and Thunar, driven by keys.

Sources: Xvfb(1), xdotool(1), scrot(1), thunar(1), dbus-daemon(1).
"""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fuse.mounted import Home, eventually

_SETTINGS = """<?xml version="1.0" encoding="UTF-8"?>
<channel name="thunar" version="1.0">
  <property name="last-window-maximized" type="bool" value="true"/>
  <property name="last-location-bar" type="string" value="ThunarLocationButtons"/>
  <property name="last-show-hidden" type="bool" value="false"/>
</channel>
"""
_APPLICATION = "[Desktop Entry]\nType=Application\nName=Keep\nExec=cp %f {opened}\nMimeType=text/plain;\n"
# Where the tests run as root, Thunar warns of it in a bar that is no part of what is shown here.
_STYLE = "infobar, infobar * { font-size: 0; min-height: 0; padding: 0; margin: 0; border: none; background: none }\n"
_AGAIN = 3.0  # seconds after which keys that had no effect are pressed again


class Desktop:
    """Thunar on a screen of its own.

    Args:
        environment: of all programs on it.
        pictures: where screenshots go.
    """

    def __init__(self, home: Home, environment: dict[str, str], pictures: Path) -> None:
        self._home = home
        self._environment = environment
        self._pictures = pictures

    def show(self, directory: Path) -> None:
        """Have Thunar show a directory, in a window of its own, with the keyboard in it."""
        self._call("DisplayFolder", directory.as_uri(), "", "")
        self.activate(directory)

    def press_on(self, file: Path, key: str) -> None:
        """Select a file in the window of its directory, and press a key."""
        self._call("DisplayFolderAndSelect", file.parent.as_uri(), file.name, "", "")
        self.activate(file.parent)
        self.press(key)

    def activate(self, directory: Path) -> None:
        """Bring the window of a directory to the front."""
        title = f"^{directory.name} - Thunar$"
        eventually(lambda: bool(self.windows(title)), f"{directory.name} is shown")
        self._run("xdotool", "windowactivate", "--sync", self.windows(title)[-1])

    def windows(self, title: str) -> list[str]:
        """The windows whose title matches a regular expression."""
        done = self._home.attempt("xdotool", "search", "--onlyvisible", "--name", title, env=self._environment)
        return done.stdout.split()

    def press(self, *keys: str) -> None:
        for key in keys:
            self._run("xdotool", "key", "--clearmodifiers", key)

    def type(self, text: str) -> None:
        self._run("xdotool", "type", text)

    def until(self, happens: Callable[[], bool], what: str, do: Callable[[], object]) -> None:
        """Do something, and again where it came too early for Thunar, until something happens."""
        for _ in range(5):
            do()
            with contextlib.suppress(pytest.fail.Exception):
                return eventually(happens, what, _AGAIN)
        self.picture("failed")
        raise AssertionError(what)

    def picture(self, name: str) -> Path:
        """Keep what the screen shows, once Thunar has had a second to draw it."""
        path = self._pictures / f"{name}.png"
        self._run("scrot", "--overwrite", "--delay", "1", path)
        return path

    def _call(self, method: str, *words: str) -> None:
        service = ("--dest", "org.xfce.FileManager", "--object-path", "/org/xfce/FileManager")
        self._run("gdbus", "call", "--session", *service, "--method", f"org.xfce.FileManager.{method}", *words)

    def _run(self, *command: str | Path) -> None:
        self._home.run(*command, env=self._environment)


@contextlib.contextmanager
def desktop(home: Home, pictures: Path, opened: Path) -> Iterator[Desktop]:
    """A desktop, on which opening a text copies it to ``opened``."""
    _write(home.path / ".config/xfce4/xfconf/xfce-perchannel-xml/thunar.xml", _SETTINGS)
    _write(home.path / ".local/share/applications/keep.desktop", _APPLICATION.format(opened=opened))
    _write(home.path / ".config/gtk-3.0/gtk.css", _STYLE)
    _write(home.path / ".config/mimeapps.list", "[Default Applications]\ntext/plain=keep.desktop\n")
    pictures.mkdir(parents=True, exist_ok=True)
    runtime = home.path / "run"
    runtime.mkdir(mode=0o700)
    environment = {"XDG_RUNTIME_DIR": str(runtime)}
    with contextlib.ExitStack() as stack:
        screen = ["Xvfb", "-displayfd", "1", "-screen", "0", "900x560x24", "-nolisten", "tcp"]
        environment["DISPLAY"] = ":" + stack.enter_context(_running(home, screen, environment))
        bus = ["dbus-daemon", "--session", "--nofork", "--print-address"]
        environment["DBUS_SESSION_BUS_ADDRESS"] = stack.enter_context(_running(home, bus, environment))
        stack.enter_context(_running(home, ["openbox"], environment, says=False))
        stack.enter_context(_running(home, ["thunar", "--daemon"], environment, says=False))
        shown = Desktop(home, environment, pictures)
        wait = ("gdbus", "wait", "--session", "--timeout", "30", "org.xfce.FileManager")
        home.run(*wait, env=environment)
        yield shown


@contextlib.contextmanager
def _running(home: Home, command: list[str], environment: dict[str, str], *, says: bool = True) -> Iterator[str]:
    """A program that runs meanwhile; the first line that it writes, if it says anything."""
    options: dict[str, Any] = {"stdout": subprocess.PIPE if says else subprocess.DEVNULL, "text": True}
    process = subprocess.Popen(
        command,
        env=home.environment | environment,
        cwd=home.path,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **options,
    )
    with process:
        try:
            yield process.stdout.readline().strip() if process.stdout else ""
        finally:
            process.terminate()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
