"""When threads were ready to run and had no processor, so that a test can tell a slow program from a busy machine.

Linux adds up for every thread how long it waited in the run queue. A sampler reads that and remembers the stretches; it
knows nothing of what the threads did in the rest of the time. Waiting for a lock, for the disk or for another thread
counts as the program's own doing.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Self

SAMPLE_SECONDS = 0.005


class Starvation:
    """Watches threads while its `with` block runs.

    Args:
        threads: (process id, thread id) of each.
    """

    def __init__(self, *threads: tuple[int, int]) -> None:
        self._files = [Path(f"/proc/{process}/task/{thread}/schedstat") for process, thread in threads]
        self.available = all(file.exists() for file in self._files)
        self._stretches: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        if self.available:
            self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self.available:
            self._sampler.join()

    def within(self, begin: float, end: float) -> float:
        """For how many seconds between two moments of `time.monotonic` one of the threads, or several, had to wait."""
        waited, reached = 0.0, begin
        for since, until in sorted(self._stretches):
            waited += max(0.0, min(until, end) - max(since, reached))
            reached = max(reached, until)
        return waited

    def _sample(self) -> None:
        before = [_waited(file) for file in self._files]
        while not self._over.wait(SAMPLE_SECONDS):
            now = time.monotonic()
            after = [_waited(file) for file in self._files]
            # A wait is added up when it ends: it lies in front of the sample that shows it.
            self._stretches += [
                (now - (total - last), now) for last, total in zip(before, after, strict=True) if total > last
            ]
            before = after


def _waited(file: Path) -> float:
    try:
        return int(file.read_text("ascii").split()[1]) / 1e9
    except OSError:  # the thread has ended
        return 0.0
