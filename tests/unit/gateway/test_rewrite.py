"""What is changed in a body that passes through, and that nothing else is."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mainspring.base.errors import InvalidRequest
from mainspring.gateway.rewrite import asking_for_usage, checked_text, with_model

texts = st.sampled_from(
    ["model", 'a "model": "x"', "\\", '"', "é", "{", "}", "[", ",", ":", "\n", "default"]
) | st.text(max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.just("model"), inner, max_size=3),
    max_leaves=8,
)
spaces = st.sampled_from(["", " ", "\n", "\t  "])


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, bytes, Any]:
    """A body with a hole where the name of the model stands: before it, after it, and what it says without it."""
    members = draw(st.lists(st.tuples(texts.filter(lambda name: name != "model"), values), max_size=4))
    at = draw(st.integers(0, len(members)))
    earlier = draw(st.booleans()) and at > 0
    key = draw(st.sampled_from(['"model"', '"mod\\u0065l"', '"\\u006dodel"']))
    ascii_only = draw(st.booleans())

    def member(name: str, value: Any) -> str:
        head = f"{draw(spaces)}{json.dumps(name, ensure_ascii=ascii_only)}{draw(spaces)}:{draw(spaces)}"
        return f"{head}{json.dumps(value, ensure_ascii=ascii_only)}{draw(spaces)}"

    before = [member(*m) for m in members[:at]]
    if earlier:
        before.insert(0, member("model", "an earlier one"))
    after = [member(*m) for m in members[at:]]
    head = (
        f"{draw(spaces)}{{"
        + "".join(f"{m}," for m in before)
        + f"{draw(spaces)}{key}{draw(spaces)}:{draw(spaces)}"
    )
    tail = draw(spaces) + "".join(f",{m}" for m in after) + "}" + draw(spaces)
    return head.encode(), tail.encode(), dict(members)


@settings(deadline=None, max_examples=150)
@given(bodies(), texts, texts)
def test_only_the_model_changes(body: tuple[bytes, bytes, Any], old: str, new: str) -> None:
    head, tail, rest = body
    assume(old != new)
    written = json.dumps(old).encode()
    changed = with_model(head + written + tail, new)
    assert changed.startswith(head)
    assert changed.endswith(tail)
    assert json.loads(changed) == {**rest, "model": new}


def test_bodies_of_megabytes_stay_cheap() -> None:
    image = b'"' + b"A" * 8_000_000 + b'"'
    quoted = b'"' + b'\\"' * 4_000_000 + b'"'
    body = b'{"a":{"model":%b},"b":[{"model":"q","x":%b}],"c":{"model":"y"},"model":"a"}' % (image, quoted)
    began = time.process_time()
    changed = with_model(body, "b")
    assert changed == body[:-4] + b'"b"}'
    assert time.process_time() - began < 5  # it was half a minute and gigabytes once


@settings(deadline=None)
@given(
    bodies(),
    st.sampled_from(
        [None, {}, {"include_usage": False}, {"include_usage": True}, {"x": 1.5, "include_usage": None}, ...]
    ),
)
def test_usage_is_asked_for(body: tuple[bytes, bytes, Any], options: Any) -> None:
    head, tail, rest = body
    assume("stream_options" not in rest)
    given_options = b"" if options is ... else b',"stream_options":' + json.dumps(options).encode()
    whole = head + b'"m"' + given_options + tail
    wanted = None if options is ... else bool(options and options.get("include_usage"))
    asked = asking_for_usage(whole, wanted)
    kept = {} if options is ... or options is None else options
    assert json.loads(asked) == {**rest, "model": "m", "stream_options": {**kept, "include_usage": True}}


def test_text_that_is_no_utf8() -> None:
    checked_text("grüße".encode())
    checked_text(b"plain")
    with pytest.raises(InvalidRequest, match="a bad byte at offset 3"):
        checked_text(b"abc\xff")
