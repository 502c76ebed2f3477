from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from mainspring.keys.types import Key
from mainspring.web.console.sessions import LIFETIME_SECONDS, SignInNeeded, open_session, read_session
from mainspring.web.console.signing import _inside

KEY = Key(id="01", name="shop", tenant="acme", digest=b"d" * 32, last4="abcd", created_us=0)


def ring(*keys: Key) -> Any:
    """A runtime that knows these keys."""
    known = {key.id: key for key in keys}
    return SimpleNamespace(keys=SimpleNamespace(active=known.get))


def test_a_session_is_its_key_and_has_a_token_of_its_own() -> None:
    one, two = open_session(KEY), open_session(KEY)
    visitor = read_session(one, ring(KEY))
    assert visitor.principal.tenant == visitor.scope == "acme"
    assert not visitor.admin
    assert visitor.csrf != read_session(two, ring(KEY)).csrf
    assert visitor.csrf not in one


def test_an_admin_sees_all_tenants() -> None:
    admin = msgspec.structs.replace(KEY, role="admin")
    assert read_session(open_session(admin), ring(admin)).scope is None


def test_a_session_ends_with_its_key_with_time_and_with_another_secret() -> None:
    cookie = open_session(KEY)
    with pytest.raises(SignInNeeded):
        read_session(cookie, ring())
    with pytest.raises(SignInNeeded, match="expired"):
        read_session(cookie, ring(KEY), now=time.time() + LIFETIME_SECONDS + 2)
    with pytest.raises(SignInNeeded):
        read_session(cookie, ring(msgspec.structs.replace(KEY, digest=b"e" * 32)))


@pytest.mark.parametrize("cookie", ["", ".", "01", "01.9", "01.9.n.", "01.x.n.s", "é.é.é.é"])
def test_what_is_not_ours_is_nobody(cookie: str) -> None:
    with pytest.raises(SignInNeeded):
        read_session(cookie, ring(KEY))


def test_after_signing_in_one_stays_here() -> None:
    assert _inside("/ledger?user=x") == "/ledger?user=x"
    assert {_inside(path) for path in ("//x.org", "/\\x.org", "https://x.org", "", "/a\nb")} == {"/"}
