"""Who is asked first, and in which order the others follow when it cannot answer.

Every strategy gets the candidates that are well and can serve the request, and returns all of them in order, with what
decided about each. None of them waits for anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from mainspring.base.money import format_usd
from mainspring.ledger.types import Usage
from mainspring.routing.candidates import Candidate

if TYPE_CHECKING:
    from collections.abc import Callable

    from mainspring.providers import PriceTable
    from mainspring.routing.health import Health
    from mainspring.routing.types import Needs

#: Tokens of an answer where the request names no limit: only the ratio of prices makes a difference then.
_USUAL_ANSWER = 500
#: Seconds below which a tenth of a millisecond says something.
_SOME_MS = 0.01


class Order(msgspec.Struct, frozen=True):
    """Candidates in the order in which they are asked.

    Attributes:
        candidates: the first is asked first.
        why: the decision in a few words; empty where there was none.
        measure: what decided, as it is called in the ledger; empty where nothing did.
        values: the measure of each candidate, None where it is not known.
    """

    candidates: Sequence[Candidate]
    why: str = ""
    measure: str = ""
    values: Sequence[float | None] = ()


def failover(candidates: Sequence[Candidate]) -> Order:
    """As they stand."""
    return Order(candidates)


def weighted(candidates: Sequence[Candidate], random: Callable[[], float]) -> Order:
    """A random one, each as often as its weight says; then a random one of the others, so that backups share too.

    Those of weight 0 are drawn only when nobody else is left, in the order of the route.
    """
    left = [candidate for candidate in candidates if candidate.weight > 0]
    total = sum(candidate.weight for candidate in left)
    drawn: list[Candidate] = []
    while len(left) > 1:
        point = random() * total
        for candidate in left:
            point -= candidate.weight
            if point < 0:
                break
        left.remove(candidate)  # the last one, should rounding leave a little of the point
        drawn.append(candidate)
        total -= candidate.weight
    drawn += left
    drawn += [candidate for candidate in candidates if candidate.weight <= 0]
    weights = [candidate.weight for candidate in drawn]
    return Order(drawn, f"weighted, drawn with {drawn[0].share}", "weight", weights)


def cheapest(candidates: Sequence[Candidate], needs: Needs, prices: PriceTable) -> Order:
    """By the price of this request; those whose price is unknown stand last, as they stand in the route."""
    answer = needs.output_tokens
    usage = Usage(input=needs.rough_input_tokens, output=_USUAL_ANSWER if answer is None else answer)
    priced = [(prices.cost(c.target.provider, c.target.model, usage), c) for c in candidates]
    priced.sort(key=lambda pair: (pair[0] is None, pair[0] or 0))
    least = priced[0][0]
    why = "cheapest, no price is known" if least is None else f"cheapest, about ${format_usd(least)}"
    return Order([c for _, c in priced], why, "cost_nusd", [cost for cost, _ in priced])


def fastest(
    candidates: Sequence[Candidate], needs: Needs, health: Health, random: Callable[[], float]
) -> Order:
    """The better of two drawn at random, by time, errors and calls under way; then the others, best first.

    To ask always the best one would send everyone to the same place at the same time.
    """
    loads = [(health.load(c.target, stream=needs.stream), place) for place, c in enumerate(candidates)]
    loads.sort()
    count = len(loads)
    if count > 2:  # noqa: PLR2004 - of two, two are drawn
        first = int(random() * count)
        second = int(random() * (count - 1))
        # Of two places in a sorted list the smaller is the better one.
        loads.insert(0, loads.pop(min(first, second + (second >= first))))
    least = loads[0][0]
    milliseconds = f"{least * 1000:.0f}" if least > _SOME_MS else f"{least * 1000:.1f}"
    why = f"fastest, {milliseconds} ms by its load" if least else "fastest, to become known"
    values = [round(load * 1000, 1) if load else None for load, _ in loads]
    return Order([candidates[place] for _, place in loads], why, "load_ms", values)
