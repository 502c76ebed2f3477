from __future__ import annotations

import asyncio

import pytest

from mainspring.base.errors import Overloaded
from mainspring.providers.local.admission import Admission


async def test_a_few_run_a_few_wait_and_the_rest_come_back_later() -> None:
    line = Admission("The model", parallel=1, queue=1)
    first = await line.enter()
    second = asyncio.create_task(line.enter())
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as caught:
        await line.enter()
    assert (caught.value.retry_after or 0) >= 1
    assert (line.running, line.waiting) == (1, 1)
    first.leave()
    first.leave()
    (await second).leave()
    assert (line.running, line.waiting) == (0, 0)


async def test_places_are_given_in_the_order_of_arrival() -> None:
    line = Admission("The model", parallel=1, queue=10)
    place = await line.enter()
    order: list[int] = []

    async def come(number: int) -> None:
        mine = await line.enter()
        order.append(number)
        mine.leave()

    tasks = [asyncio.create_task(come(number)) for number in range(5)]
    await asyncio.sleep(0)
    place.leave()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4]


async def test_who_leaves_the_line_takes_no_place_along() -> None:
    line = Admission("The model", parallel=1, queue=10)
    place = await line.enter()
    waiting = [asyncio.create_task(line.enter()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    assert line.waiting == 2
    place.leave()
    waiting[1].cancel()  # it has just been given the place
    (await waiting[2]).leave()
    await asyncio.gather(*waiting[:2], return_exceptions=True)
    assert (line.running, line.waiting) == (0, 0)


async def test_without_a_line_a_busy_model_refuses_at_once() -> None:
    line = Admission("The model", parallel=2, queue=0)
    places = [await line.enter(), await line.enter()]
    with pytest.raises(Overloaded):
        await line.enter()
    for place in places:
        place.leave()
