"""Which programs are thumbnailers."""

import os
import subprocess
import sys
import threading

import pytest

from containerfs.fs.thumbnails import is_thumbnailer, makes_thumbnails


@pytest.mark.parametrize(
    "words",
    [
        ["/usr/lib/x86_64-linux-gnu/tumbler-1/tumblerd"],
        ["/usr/bin/gdk-pixbuf-thumbnailer", "-s", "256", "file:///a.png", "/tmp/b.png"],
        ["ffmpegthumbnailer", "-i", "a.mp4"],
        ["/usr/lib/x86_64-linux-gnu/libexec/kf6/kioworker", "/usr/lib/qt6/plugins/kf6/kio/thumbnail.so", "thumbnail"],
        ["python3", "/usr/bin/stl-thumbnailer", "a.stl"],
    ],
)
def test_thumbnailers(words: list[str]) -> None:
    assert makes_thumbnails(words)


@pytest.mark.parametrize(
    "words",
    [
        ["thunar"],
        ["vim", "thumbnails.txt"],
        ["cp", "thumbnail.png", "/tmp"],
        ["/usr/lib/x86_64-linux-gnu/libexec/kf6/kioworker", "/usr/lib/qt6/plugins/kf6/kio/kio_file.so", "file"],
    ],
)
def test_others(words: list[str]) -> None:
    assert not makes_thumbnails(words)


def test_any_thread_of_a_thumbnailer_is_one() -> None:
    program = "import threading; print(threading.get_native_id(), flush=True); input()"
    in_a_thread = f"import threading; threading.Thread(target=lambda: exec({program!r})).start()"
    words = ["tumblerd", "-c", in_a_thread]
    with subprocess.Popen(words, executable=sys.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        thread = int(process.stdout.readline())
        assert thread != process.pid
        assert is_thumbnailer(thread)


def test_of_a_thread_that_is_gone_nothing_is_known() -> None:
    ids: list[int] = []
    thread = threading.Thread(target=lambda: ids.append(threading.get_native_id()))
    thread.start()
    thread.join()
    assert not is_thumbnailer(ids[0])
    assert not is_thumbnailer(os.getpid())
