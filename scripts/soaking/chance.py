"""Faults by chance: for each request of a mount a die is cast, and what it was is counted."""

import random
import threading
from collections import Counter

from tests.faults import faults
from tests.faults.exchange import Exchange, Fault, passes

_SLOW = (0.05, 0.3, 1.0)  # seconds


class Dice:
    """A fault for the proxy that is another one each time.

    Args:
        share: of the requests that meet one, from 0 to 1.
    """

    def __init__(self, chance: random.Random, share: float) -> None:
        self.counts: Counter[str] = Counter()
        self._chance = chance
        self._share = share
        self._ended = threading.Event()
        self._lock = threading.Lock()  # guards the counts and the chance

    def __call__(self, exchange: Exchange) -> None:
        fault = self._cast(exchange)
        fault(exchange)

    def end(self) -> None:
        """Nothing is held any longer."""
        self._ended.set()

    def _cast(self, exchange: Exchange) -> Fault:
        with self._lock:
            if self._chance.random() >= self._share:
                return passes
            pause = self._chance.choice(_SLOW)
            kinds = {**_ANY, "late answer": lambda each: self._late(each, pause)}
            if exchange.is_upload:
                kinds |= {**_UPLOADS, "hang": self._hang}
            if exchange.is_change:
                kinds |= _CHANGES
            name = self._chance.choice(sorted(kinds))
            self.counts[name] += 1
        return kinds[name]

    def _late(self, exchange: Exchange, pause: float) -> None:
        answer = exchange.forward()
        self._ended.wait(pause)
        exchange.answer(answer)

    def _hang(self, exchange: Exchange) -> None:
        """Until the end; the service never sees it."""
        exchange.request.read_all()
        self._ended.wait(60)
        exchange.cut()


_ANY: dict[str, Fault] = {
    "503": faults.refuses(503),
    "429": faults.refuses(429),
    "request lost": faults.loses_request,
    "answer lost": faults.loses_answer,
    "HTML": faults.answers(faults.HTML),
}
_CHANGES = {name: fault for name, fault in faults.AFTER_COMMIT.items() if name != "HTML"}
_UPLOADS: dict[str, Fault] = {
    "413": faults.refuses(413),
    "507": faults.refuses(507),
    "cut body": faults.cuts_body,
    "cut body, forwarded": faults.forwards_cut_body,
    "cut body, stored": faults.stores_cut_body,
}
