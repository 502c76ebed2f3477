"""Whatever is wrong with a route is told in one sentence, with its key and its line, before the first call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mainspring.base.errors import ConfigError
from mainspring.base.settings import load, located
from mainspring.providers import Providers
from mainspring.routing import Health, Plan, Router, Wanted

if TYPE_CHECKING:
    from pathlib import Path

PROVIDER = '[providers.a]\nbase_url = "http://127.0.0.1:9/v1"\n'
WHEN = '[[routes.x.when]]\ntargets = ["a/n"]\n'


def read(folder: Path, text: str) -> Router:
    file = folder / "mainspring.toml"
    file.write_text(PROVIDER + text)
    settings = load(file)
    try:
        return Router(settings, Providers(settings), Health())
    except ConfigError as error:
        raise located(error, file) from None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            '[routes.x]\ntargets = ["b/m"]',
            "line 4: routes.x: the target 'b/m' names a provider that is not configured",
        ),
        ('[routes.x]\ntargets = ["m"]', "line 4: routes.x: the target 'm' is not a model of a provider"),
        ("[routes.x]\ntargets = []", "line 4: routes.x.targets: the list is empty"),
        ('[routes.x]\nstrategy = "failover"', "line 3: routes.x.targets"),
        (
            '[routes.x]\nstrategy = "weighted"\ntargets = ["a/m", "a/n"]\nweights = [1]',
            "line 6: routes.x.weights: there are 1 for 2 targets",
        ),
        (
            '[routes.x]\nstrategy = "weighted"\ntargets = ["a/m", "a/n"]\nweights = [1, -1]',
            "line 6: routes.x.weights: one of them is negative",
        ),
        (
            '[routes.x]\nstrategy = "weighted"\ntargets = ["a/m", "a/n"]\nweights = [inf, 1]',
            "line 6: routes.x.weights",
        ),
        (
            '[routes.x]\nstrategy = "weighted"\ntargets = ["a/m", "a/n"]\nweights = [0, 0]',
            "line 6: routes.x.weights: they sum to 0",
        ),
        (
            '[routes.x]\ntargets = ["a/m", "a/n"]\nweights = [1, 2]',
            'line 5: routes.x.weights: they have no effect with strategy "failover"',
        ),
        ('[routes."x/y"]\ntargets = ["a/m"]', "routes.x/y: "),
        (
            '[routes.x]\ntargets = ["a/m"]\nstrategy = "cascade"',
            "line 5: routes.x.strategy",
        ),
        ('[routes.x]\ntargets = ["a/m", "a/m"]', "line 4: routes.x.targets: 'a/m' stands there twice"),
        (
            '[routes.x]\ntargets = ["a/m"]\n[routes.x.hedge]',
            "line 5: routes.x.hedge: there is no second target",
        ),
        (
            f'[routes.x]\ntargets = ["a/m"]\n[routes.x.hedge]\n{WHEN}user = "u"',
            "line 5: routes.x.hedge: there is never a second target",
        ),
        (
            '[routes.x]\ntargets = ["a/m", "a/n"]\n[routes.x.hedge]\nafter = "p97"',
            "line 6: routes.x.hedge.after: 'p97' is not a time",
        ),
        (
            '[routes.x]\ntargets = ["a/m", "a/n"]\n[routes.x.hedge]\naftr = 1',
            "line 6: routes.x.hedge.aftr is not a setting. Did you mean 'after'?",
        ),
        (
            '[routes.x]\ntargets = ["a/m"]\nfallback.route = "y"\n[routes.y]\ntargets = ["a/n"]\nfallback.route = "x"',
            "line 5: routes.x.fallback.route: the fallbacks go in a circle, x to y to x",
        ),
        (
            '[routes.x]\ntargets = ["a/m"]\nfallback.route = "x"',
            "line 5: routes.x.fallback.route: the fallbacks go in a circle, x to x",
        ),
        (
            '[routes.x]\ntargets = ["a/m"]\nfallback.route = "z"',
            "line 5: routes.x.fallback.route: there is no route 'z'",
        ),
        ('[defaults.fallback]\nroute = "z"', "line 4: defaults.fallback.route: there is no route 'z'"),
        ('[routes.x]\ntargets = ["a/m"]\n[routes.x.fallback]', "line 5: routes.x.fallback: it says nothing"),
        (
            '[routes.x]\ntargets = ["a/m"]\nfallback.heuristic = "foo"',
            "line 5: routes.x.fallback.heuristic: 'foo' names no function.",
        ),
        (
            f'[routes.x]\ntargets = ["a/m"]\n{WHEN}min_input_tokens = 10\nmax_input_tokens = 5',
            "line 5: routes.x.when[1]: it never holds, since min_input_tokens 10 is more than max_input_tokens 5",
        ),
        (
            f'[routes.x]\ntargets = ["a/m"]\n{WHEN}user = []',
            "line 5: routes.x.when[1]: it never holds, since user lists",
        ),
        (f'[routes.x]\ntargets = ["a/m"]\n{WHEN}', "line 5: routes.x.when[1]: it sets no condition"),
        (
            f'[routes.x]\ntargets = ["a/m"]\n{WHEN}user = "u"\n{WHEN}user = "u"\nstream = true',
            "line 8: routes.x.when[2] can never hold: rule 1 takes every request that it would",
        ),
        (
            f'[routes.x]\ntargets = ["a/m"]\n{WHEN}min_input_tokens = 5\n{WHEN}min_input_tokens = 9\nneeds = ["tools"]',
            "line 8: routes.x.when[2] can never hold",
        ),
        (
            f'[routes.x]\ntargets = ["a/m"]\n{WHEN}needs = ["visions"]',
            "line 7: routes.x.when[1].needs[1]",
        ),
        (
            f'[routes.x]\ntargets = ["a/m"]\n{WHEN}user = "u"\n{WHEN}usr = "v"',
            "line 10: routes.x.when[2].usr is not a setting. Did you mean 'user'?",
        ),
        (
            '[routes.x]\ntargets = ["a/m"]\n[[routes.x.when]]\ntargets = ["q/n"]\nuser = "u"',
            "line 6: routes.x.when[1]: the target 'q/n' names a provider that is not configured",
        ),
        (
            '[routes.x]\ntargets = ["a/m"]\n[routes.x.retry]\nattempts = 0',
            "line 6: routes.x.retry.attempts",
        ),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, text)
    assert says in error.value.message
    assert error.value.remedy
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "rules",
    [
        'user = "u"\nstream = true|user = "u"',  # the narrower one first
        'user = "u"|user = "v"',
        'user = ["u", "v"]|user = ["v", "w"]',
        "min_input_tokens = 9|min_input_tokens = 5",
        "max_input_tokens = 5|min_input_tokens = 5",
        'metadata = { a = 1 }|metadata = { a = "1" }',
        'needs = ["tools", "vision"]|needs = ["tools"]',
    ],
)
def test_rules_that_may_stand_together(tmp_path: Path, rules: str) -> None:
    first, second = rules.split("|")
    read(tmp_path, f'[routes.x]\ntargets = ["a/m"]\n{WHEN}{first}\n{WHEN}{second}')


def planned(router: Router, name: str) -> Plan:
    return router.plan(name, Wanted)


def test_a_route_is_silent_where_the_defaults_speak(tmp_path: Path) -> None:
    router = read(
        tmp_path,
        """
[defaults]
resume = true
[defaults.retry]
attempts = 5
backoff = 1
[defaults.hedge]
after = 2
[defaults.fallback]
message = "Later."
[routes.silent]
targets = ["a/m", "a/n"]
[routes.own]
targets = ["a/m", "a/n"]
resume = false
hedge = false
fallback = false
retry.attempts = 2
""",
    )
    silent, own, direct = (planned(router, name) for name in ("silent", "own", "a/m"))
    assert (silent.resume, own.resume, direct.resume) == (True, False, True)
    assert [(p.retry.attempts, p.retry.backoff) for p in (silent, own, direct)] == [(5, 1), (2, 1), (5, 1)]
    assert silent.hedge is not None
    assert silent.hedge.after == 2
    assert (own.hedge, own.fallback) == (None, None)
    assert silent.fallback is not None
    assert direct.fallback is not None


def test_the_route_of_the_default_fallback_does_not_fall_back_to_itself(tmp_path: Path) -> None:
    router = read(
        tmp_path,
        """
[defaults.fallback]
route = "last"
[routes.x]
targets = ["a/m"]
[routes.last]
targets = ["a/n"]
""",
    )
    fallback = planned(router, "x").fallback
    assert fallback is not None
    assert fallback.route == "last"
    assert planned(router, "last").fallback is None
