"""How `fastest` shares out a load: targets with places and queues, callers who come at random, on a clock of its own."""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from typing import TYPE_CHECKING

from mainspring.routing import Health, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.routing.support import Clock

    from mainspring.routing import Router, Target

_PLACES = 4
_SECONDS = 0.2


class World:
    """Targets that answer four requests at once, each in 0.2 s on average, and let the others wait.

    Args:
        made: who is asked where each request goes.
        health: what hears of every call.
        clock: the clock of both.
    """

    def __init__(self, made: Router, health: Health, clock: Clock) -> None:
        self._made, self._health, self._clock = made, health, clock
        self._random = random.Random(11)
        self._ends: list[tuple[float, int, Target, float, float]] = []
        self._busy: Counter[str] = Counter()
        self._waiting: dict[str, deque[tuple[Target, float]]] = {}
        self._count = 0
        #: By how much a target is slower than it should be.
        self.slowness: dict[str, float] = {}
        #: Who was asked, and how long each answer took, since they were last cleared.
        self.asked: Counter[str] = Counter()
        self.took: list[float] = []

    def run(self, seconds: float, rate: float) -> None:
        """Let callers come for a while, so many a second."""
        until = self._clock.now + seconds
        while (arrival := self._clock.now + self._random.expovariate(rate)) < until:
            while self._ends and self._ends[0][0] <= arrival:
                self._end(*heapq.heappop(self._ends))
            self._clock.now = arrival
            target = self._made.plan("r", Wanted).targets[0]
            self.asked[str(target)] += 1
            began = self._health.began(target)
            if self._busy[str(target)] < _PLACES:
                self._serve(target, began)
            else:
                self._waiting.setdefault(str(target), deque()).append((target, began))
        self._clock.now = until

    def _serve(self, target: Target, began: float) -> None:
        name = str(target)
        self._busy[name] += 1
        self._count += 1
        needs = self._random.expovariate(1 / (_SECONDS * self.slowness.get(name, 1.0)))
        heapq.heappush(self._ends, (self._clock.now + needs, self._count, target, began, needs))

    def _end(self, at: float, _: int, target: Target, began: float, __: float) -> None:
        self._clock.now = at
        name, took = str(target), at - began
        self._health.succeeded(target, first_token_s=took, total_s=took, stream=False, began=began)
        self.took.append(took)
        self._busy[name] -= 1
        if self._waiting.get(name):
            self._serve(*self._waiting[name].popleft())

    def share(self, name: str) -> float:
        """The share of requests that a target got since the last time, which begins anew."""
        share = self.asked[name] / self.asked.total()
        self.asked.clear()
        return share


def test_equals_get_equal_shares_and_the_slow_one_little(router: Callable[..., Router], clock: Clock) -> None:
    health = Health(clock)
    names = ["a/m", "a/n", "b/m", "b/n"]
    made = router({"targets": names, "strategy": "fastest"}, health=health)
    world = World(made, health, clock)
    random.seed(5)  # the router draws with the module's numbers
    world.run(60, rate=48)  # six tenths of what all of them can do
    assert all(0.2 < world.asked[name] / world.asked.total() < 0.3 for name in names), world.asked
    assert sum(world.took) / len(world.took) < 1.5 * _SECONDS, "hardly anybody waits"
    world.asked.clear()

    world.slowness["a/m"] = 10.0
    world.run(5, rate=48)
    world.asked.clear()
    world.run(20, rate=48)
    assert 0 < world.share("a/m") < 0.1, "it is left alone but for what keeps it known"

    world.slowness.clear()
    world.run(40, rate=48)
    world.asked.clear()
    world.run(20, rate=48)
    assert world.share("a/m") > 0.15, "it is well again, and found out to be"
