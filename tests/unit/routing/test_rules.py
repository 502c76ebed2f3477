"""Rules of a route, and what models can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.routing.support import names

from mainspring.base.errors import ContextLengthExceeded, NothingFits
from mainspring.routing import Router, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable

VISION: frozenset[Any] = frozenset({"vision"})


class Uncounted(Wanted, frozen=True):
    """A request whose tokens must not be counted."""

    bytes: int = 0

    @property
    def size(self) -> int:
        return self.bytes

    @property
    def most_input_tokens(self) -> int:
        return self.bytes

    @property
    def rough_input_tokens(self) -> int:
        return self.bytes // 4

    @property
    def input_tokens(self) -> int:  # type: ignore[override] # a field of what it stands for
        raise AssertionError("the size says enough")


@pytest.mark.parametrize(
    ("when", "holds", "fails"),
    [
        (
            {"metadata": {"plan": "pro"}},
            {"metadata": {"plan": "pro", "x": 1}},
            {"metadata": {"plan": "free"}},
        ),
        ({"metadata": {"n": 1}}, {"metadata": {"n": 1}}, {"metadata": {"n": True}}),
        ({"metadata": {"n": True}}, {"metadata": {"n": True}}, {"metadata": {"n": 1}}),
        ({"metadata": {"n": 1}}, {"metadata": {"n": 1.0}}, {"metadata": {"n": "1"}}),
        ({"tags": {"team": "a"}}, {"tags": {"team": "a"}}, {"metadata": {"team": "a"}}),
        ({"user": "ann"}, {"user": "ann"}, {"user": None}),
        ({"user": ["ann", "bob"]}, {"user": "bob"}, {"user": "eve"}),
        ({"feature": "search"}, {"feature": "search"}, {"feature": "chat"}),
        ({"tenant": "acme"}, {"tenant": "acme"}, {"tenant": "default"}),
        ({"min_input_tokens": 100}, {"input_tokens": 100}, {"input_tokens": 99}),
        ({"max_input_tokens": 100}, {"input_tokens": 100}, {"input_tokens": 101}),
        (
            {"min_input_tokens": 10, "max_input_tokens": 20},
            {"input_tokens": 15},
            {"input_tokens": 21},
        ),
        ({"needs": ["vision"]}, {"kinds": frozenset({"vision", "tools"})}, {"kinds": frozenset({"tools"})}),
        ({"needs": ["vision", "tools"]}, {"kinds": frozenset({"vision", "tools"})}, {"kinds": VISION}),
        ({"stream": True}, {"stream": True}, {"stream": False}),
        ({"stream": False}, {"stream": False}, {"stream": True}),
        ({"user": "ann", "stream": True}, {"user": "ann", "stream": True}, {"user": "ann", "stream": False}),
    ],
)
def test_a_rule(router: Callable[..., Router], when: dict[str, Any], holds: Any, fails: Any) -> None:
    made = router({"targets": ["a/m"], "when": [{**when, "targets": ["b/m"]}]})
    taken = made.plan("r", lambda: Wanted(**holds))
    assert names(taken) == ["b/m"]
    assert taken.why.startswith("route r, rule 1 (")
    assert taken.detail is not None
    assert taken.detail["rule"].startswith("rule 1 (")
    assert names(made.plan("r", lambda: Wanted(**fails))) == ["a/m"]


def test_the_first_rule_wins_and_brings_its_own_strategy(router: Callable[..., Router]) -> None:
    made = router(
        {
            "targets": ["a/m"],
            "when": [
                {"user": "ann", "stream": True, "targets": ["b/m", "c/m"], "weights": [0, 1]},
                {"user": "ann", "targets": ["c/m"]},
            ],
        },
        draws=[],
    )
    plan = made.plan("r", lambda: Wanted(user="ann", stream=True))
    assert names(plan) == ["c/m", "b/m"]
    assert plan.why == "route r, rule 1 (user=ann, streamed), weighted, drawn with weight 1 of 1"
    assert made.plan("r", lambda: Wanted(user="ann")).why == "route r, rule 2 (user=ann)"


def test_tokens_are_counted_only_where_the_size_leaves_it_open(router: Callable[..., Router]) -> None:
    made = router({"targets": ["a/m"], "when": [{"min_input_tokens": 1000, "targets": ["b/m"]}]})
    assert names(made.plan("r", lambda: Uncounted(bytes=900))) == ["a/m"]
    assert names(made.plan("r", lambda: Uncounted(bytes=40_000))) == ["b/m"]
    with pytest.raises(AssertionError):
        made.plan("r", lambda: Uncounted(bytes=4000))


BLIND = {"a/m": {"vision": False}, "b/m": {"vision": True}}


def test_who_cannot_is_passed_over_with_the_reason(router: Callable[..., Router]) -> None:
    made = router({"targets": ["a/m", "b/m", "c/m"]}, models=BLIND)
    assert names(made.plan("r", Wanted)) == ["a/m", "b/m", "c/m"]
    plan = made.plan("r", lambda: Wanted(kinds=VISION))
    assert names(plan) == ["b/m", "c/m"], "what is not known of c is no reason"
    assert plan.why == "route r, passed over a/m (no vision)"
    assert plan.detail == {
        "strategy": "failover",
        "candidates": [{"target": "b/m"}, {"target": "c/m"}],
        "passed_over": [{"target": "a/m", "note": "no vision"}],
    }


def test_when_nobody_can_the_need_is_named(router: Callable[..., Router]) -> None:
    models = {"a/m": {"vision": False, "tools": False}, "b/m": {"vision": False}}
    made = router({"targets": ["a/m", "b/m"]}, models=models)
    with pytest.raises(NothingFits) as error:
        made.plan("r", lambda: Wanted(kinds=frozenset({"vision", "tools"})))
    assert error.value.message == (
        "No target of the route 'r' can serve this request (a/m: no tools and no vision; b/m: no vision)."
    )
    assert (error.value.http_status, error.value.code) == (400, "no_target_fits")


def test_a_model_that_is_named_is_asked_whatever_the_tables_say(router: Callable[..., Router]) -> None:
    made = router(models={"a/m": {"vision": False}})
    assert names(made.plan("a/m", lambda: Wanted(kinds=VISION))) == ["a/m"]


CONTEXTS = {"a/m": {"context_tokens": 1000}, "b/m": {"context_tokens": 100_000}}


def test_a_context_that_is_too_short(router: Callable[..., Router]) -> None:
    made = router({"targets": ["a/m", "b/m"]}, models=CONTEXTS)
    assert names(made.plan("r", lambda: Wanted(input_tokens=900))) == ["a/m", "b/m"]
    plan = made.plan("r", lambda: Wanted(input_tokens=5000))
    assert names(plan) == ["b/m"]
    assert plan.why == "route r, passed over a/m (takes 1000 tokens, these are about 5000)"
    doubtful = made.plan("r", lambda: Wanted(input_tokens=1100))
    assert names(doubtful) == ["b/m", "a/m"], "our count is an estimate: it may fit"
    assert doubtful.why == "route r, a/m last (may be too long for 1000 tokens)"
    assert names(made.plan("r", lambda: Wanted(input_tokens=900, output_tokens=200))) == ["b/m", "a/m"]
    with pytest.raises(ContextLengthExceeded, match=r"a/m: takes 1000 tokens, these are about 900000; b/m"):
        made.plan("r", lambda: Wanted(input_tokens=900_000))


def test_a_backup_in_doubt_costs_no_count(router: Callable[..., Router]) -> None:
    made = router({"targets": ["b/m", "a/m"]}, models=CONTEXTS)
    plan = made.plan("r", lambda: Uncounted(bytes=5000))
    assert names(plan) == ["b/m", "a/m"]
    assert names(made.plan("r", lambda: Uncounted(bytes=900))) == ["b/m", "a/m"]
    assert names(made.plan("r", lambda: Uncounted(bytes=150_000))) == ["b/m"]


def test_an_answer_that_is_longer_than_the_model_writes(router: Callable[..., Router]) -> None:
    made = router({"targets": ["a/m", "b/m"]}, models={"a/m": {"max_output_tokens": 100}})
    assert names(made.plan("r", lambda: Wanted(output_tokens=100))) == ["a/m", "b/m"]
    assert names(made.plan("r", lambda: Wanted(output_tokens=101))) == ["b/m"]


def test_the_models_in_the_box_take_no_images(router: Callable[..., Router]) -> None:
    made = router({"targets": ["local/small", "a/m"]})
    assert names(made.plan("r", lambda: Wanted(kinds=VISION))) == ["a/m"]
    assert names(made.plan("r", lambda: Wanted(kinds=frozenset({"tools", "json_schema"})))) == [
        "local/small",
        "a/m",
    ]
