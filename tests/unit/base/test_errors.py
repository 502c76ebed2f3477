"""The tree in the docstring is the tree of the classes."""

from __future__ import annotations

import re

import pytest

from mainspring.base import errors
from mainspring.base.errors import MainspringError, ProviderRefused


def _drawn() -> dict[str, str]:
    """Each drawn class and the one it is drawn under."""
    assert errors.__doc__ is not None
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in errors.__doc__.splitlines():
        match = re.match(r"^((?:│   |    )*)(?:├── |└── )?([A-Z]\w+)(?:\s|$)", line)
        if match is None or ("──" not in line and match[2] != "MainspringError"):
            continue
        depth = len(match[1]) // 4 + (1 if "──" in line else 0)
        path[depth:] = [match[2]]
        if depth:
            parents[match[2]] = path[depth - 1]
    return parents


def _defined() -> dict[str, str]:
    classes = [
        each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, MainspringError)
    ]
    return {each.__name__: each.__bases__[0].__name__ for each in classes if each is not MainspringError}


def test_docstring_draws_the_classes() -> None:
    assert _drawn() == _defined()


def test_drawn_statuses_are_the_statuses() -> None:
    assert errors.__doc__ is not None
    drawn = dict(re.findall(r"── (\w+)\s+(\d{3})\b", errors.__doc__))
    assert drawn
    assert {name: str(getattr(errors, name).status) for name in drawn} == drawn


def test_every_error_says_what_and_what_to_do() -> None:
    error = MainspringError("It broke.", remedy="Mend it.")
    assert str(error) == "It broke. Mend it."
    assert str(MainspringError("It broke.")) == "It broke."
    assert [each for each in vars(errors).values() if isinstance(each, type) and not each.__doc__] == []


@pytest.mark.parametrize(
    ("upstream", "seen"), [(400, 400), (401, 502), (403, 502), (429, 429), (500, 500), (302, 502)]
)
def test_a_provider_refusing_our_key_is_not_the_callers_401(upstream: int, seen: int) -> None:
    assert ProviderRefused("No.", upstream_status=upstream).http_status == seen
