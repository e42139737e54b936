"""How far a long command is, said once a minute where no bar can be drawn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Self

__all__ = ["Pace", "spelt_time"]


class Pace:
    """Say from time to time how much is done, and about how long the rest takes.

    Args:
        say: Takes a line.
        what: What is counted.
        every: Seconds between two lines.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        what: str = "runs",
        every: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.say, self.what, self.every, self.clock = say, what, every, clock
        self.name, self.done, self.total, self.first = "", 0, 0, 0
        self.since = clock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def told(self, name: str, done: int, total: int) -> None:
        """Note how far a task is; runs that were found take no time and do not count."""
        if name != self.name:
            self.name, self.first, self.since = name, done, self.clock()
        self.done, self.total = done, total

    def line(self) -> str:
        """What there is to say now."""
        spent, made = self.clock() - self.since, self.done - self.first
        if not self.total:
            return f"getting ready for {spelt_time(spent)}"
        count = f"{self.done} of {self.total} {self.what}"
        text = f"{self.name}: {count} after {spelt_time(spent)}"
        if not made:
            return f"{text}, too early to say how long the rest takes"
        left = spent / made * (self.total - self.done)
        return f"{text}, about {spelt_time(left)} left"

    def _run(self) -> None:
        while not self._stop.wait(self.every):
            self.say(self.line())


def spelt_time(seconds: float) -> str:
    """Seconds as people say them.

    Example:
        >>> spelt_time(42), spelt_time(130), spelt_time(7800)
        ('42 s', '2 min', '2 h 10 min')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
