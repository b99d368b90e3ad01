"""The service's clock, as it says and as it goes on."""

import time

import pytest

from containerfs.fs.clock import ServiceClock


def test_it_is_this_machines_until_the_service_tells() -> None:
    clock = ServiceClock()
    for told in (None, "", "tomorrow", "Sun, 99 Nov 2026 19:00:00 GMT"):
        clock.set(told)
        assert clock.now() == pytest.approx(time.time(), abs=60)


def test_it_goes_on_whatever_is_done_to_this_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, booted = ServiceClock(), 1000.0
    monkeypatch.setattr(time, "clock_gettime", lambda _: booted)
    clock.set("Thu, 01 Jan 1970 00:01:00 GMT")
    monkeypatch.setattr(time, "time", lambda: -1.0)
    booted += 40.0
    assert clock.now() == 100.0
    clock.set(None)
    assert clock.now() == 100.0
