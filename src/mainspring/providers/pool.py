"""The keys of one provider: which of them the next call is made with, and which rest.

A key rests for a model after a 429, for as long as the provider says. One that the provider does not accept is left
out while there is another. Of those that are free the calls are spread in proportion to what the answers say is left
of their rate limits. A provider with a single key that is free costs one comparison per call.

All of it is in the memory of this process. What a call is and how it is sent, this module does not know.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mainspring.base.clock import monotonic
from mainspring.base.errors import (
    ProviderCoolingDown,
    ProviderDrained,
    ProviderRefused,
    ProviderWithoutKey,
    SecretError,
)
from mainspring.base.logging import get_logger
from mainspring.base.settings.secrets import shown
from mainspring.providers.configured import unfit
from mainspring.providers.headroom import Headroom, read_headroom, seconds_to_reset
from mainspring.providers.rests import Rests
from mainspring.providers.transport import exact_retry_after

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from mainspring.base.secrets import Secret
    from mainspring.providers.types import Drain

_UNAUTHORIZED, _FORBIDDEN, _LIMITED = 401, 403, 429
#: A provider that does not say how long: seconds for the first 429, doubled with each that follows without an answer.
_REST_SECONDS, _LONGEST_REST = 2.0, 60.0
#: Some say that a call may be repeated at once; it must not become a loop.
_LEAST_REST = 0.1
#: However long a provider says: it is asked again after that many seconds.
_MOST_SECONDS = 900.0
#: How long a key is left out that the provider does not accept; doubled each time.
_OUT_SECONDS, _LONGEST_OUT = 60.0, 600.0
#: How long an answer tells of the headroom, where it does not say when that is whole again.
_KNOWN_SECONDS = 60.0
#: A key with nothing left still gets a call now and then, for what it said may be out of date.
_LEAST_WEIGHT = 0.001
#: How long weights are used before headers are read again.
_WEIGHED_SECONDS = 0.1
#: Models whose headroom is kept for each key; callers choose names, so they must not grow without end.
_MOST_MODELS = 200

_log = get_logger(__name__)


class PooledKey:
    """One key. Attributes are read by whoever shows them.

    Attributes:
        label: what it is called everywhere: its reference, or `key 2` for one that stands in the configuration.
        reference: where its secret comes from; empty where calls carry none.
        credentials: the header line that carries the secret, ready to be sent.
        secret: the secret in use, with its age; None while there is none.
        problem: why there is none, or why the last known one is still in use.
        twin: the label of an earlier key with the same secret, in whose place this one is not used.
        drain: who took it out of use, if somebody did.
        resting: until when it is left out, and why.
        calls: answers and refusals so far.
    """

    __slots__ = (
        "_answer",
        "_headroom",
        "calls",
        "credentials",
        "credit",
        "drain",
        "label",
        "problem",
        "reference",
        "resting",
        "secret",
        "twin",
    )

    def __init__(self, label: str, reference: str = "") -> None:
        self.label = label
        self.reference = reference
        self.credentials = b""
        self.secret: Secret | None = None
        self.problem: SecretError | None = None
        self.twin: str | None = None
        self.drain: Drain | None = None
        self.resting = Rests()
        self.calls = 0
        #: What smooth weighted rotation owes it.
        self.credit = 0.0
        #: By model: the headers of the last answer and when it came.
        self._answer: dict[str, tuple[Mapping[str, str], float]] = {}
        self._headroom: dict[str, Headroom] = {}

    @property
    def usable(self) -> bool:
        """Whether it is there and nobody took it out of use; it may still have to rest."""
        return (not self.reference or self.secret is not None) and self.twin is None and self.drain is None

    @property
    def state(self) -> str:
        """In a word: ready, cooling, refused, drained, missing or duplicate."""
        if self.drain is not None:
            return "drained"
        if self.secret is None:
            return "missing"
        if self.twin is not None:
            return "duplicate"
        reasons = {rest.reason for rest in self.resting.current().values()}
        return "refused" if "refused" in reasons else "cooling" if reasons else "ready"

    def answered(self, model: str, headers: Mapping[str, str]) -> None:
        """An answer came. Its headers are read only when somebody asks for the headroom."""
        self.calls += 1
        if model not in self._answer and len(self._answer) >= _MOST_MODELS:
            self._answer.clear()
            self._headroom.clear()
        self._answer[model] = (headers, monotonic())
        self._headroom.pop(model, None)

    def headroom(self, model: str) -> tuple[Headroom, float] | None:
        """What was left after the last answer for a model, and how many seconds ago that was."""
        told = self._answer.get(model)
        if told is None:
            return None
        read = self._headroom.get(model)
        if read is None:
            read = self._headroom[model] = read_headroom(told[0])
        return read, monotonic() - told[1]

    def left(self, model: str) -> tuple[int | None, int | None]:
        """Requests and tokens left; None where nothing is known, or what is known is out of date."""
        told = self.headroom(model)
        if told is None:
            return None, None
        headroom, ago = told
        requests, tokens = (
            max(0, allowance.remaining)
            if allowance is not None and ago < (allowance.resets_s or _KNOWN_SECONDS)
            else None
            for allowance in (headroom.requests, headroom.tokens)
        )
        return requests, tokens

    def models(self) -> list[str]:
        """The models that it was asked for, as far as they are kept."""
        return sorted(self._answer)


class KeyPool:
    """The keys of a provider; see the module.

    Args:
        provider: its name, for messages.
        keys: its keys, or one without a reference where calls carry none.
        header: how a secret is sent, with `%s` in its place: `authorization: Bearer %s`.
        renew: reads a reference again at once, when the provider does not accept what it stood for.
    """

    def __init__(
        self,
        provider: str,
        keys: list[PooledKey] | None = None,
        *,
        header: str = "",
        renew: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self.provider = provider
        self.keys = keys or [PooledKey("")]
        self.drain: Drain | None = None
        self._header = header
        self._renew = renew
        #: The key that every call takes while there is nothing to choose and nothing to wait for.
        self._only: PooledKey | None = None
        #: The keys to choose from while none of them rests; else empty.
        self._free: list[PooledKey] = []
        #: By model: until when the weights of the keys are good, and the weights.
        self._weighed: dict[str, tuple[float, dict[PooledKey, float]]] = {}
        self.settle()

    def put(self, reference: str, secret: Secret | None, problem: SecretError | None) -> None:
        """Use a secret from the next call on; calls under way are not touched.

        Args:
            reference: what stands for it.
            secret: as it was read last; None if it never was.
            problem: why it cannot be read now.
        """
        if secret is not None and (wrong := unfit(secret.value)) is not None:
            problem, secret = SecretError(f"{shown(reference)} {wrong[0]}.", remedy=wrong[1]), None
        for key in self.keys:
            if key.reference != reference:
                continue
            key.problem = problem
            if secret is not None:
                credentials = f"{self._header % secret.value}\r\n".encode("latin-1")
                if credentials != key.credentials:
                    key.resting.clear()
                key.secret, key.credentials = secret, credentials
        self.settle()

    def adopt(self, before: KeyPool) -> None:
        """Go on with what the pool that this one replaces has learnt of keys that are the same."""
        known = {(key.label, key.credentials): key for key in before.keys}
        self.keys = [known.get((key.label, key.credentials), key) for key in self.keys]
        self.settle()

    def settle(self) -> None:
        """Look again at what is there, after secrets or drains have changed."""
        first: dict[bytes, PooledKey] = {}
        for key in self.keys:
            twin = first.setdefault(key.credentials, key) if key.secret is not None else key
            key.twin = None if twin is key else twin.label
        free = len(self.keys) == 1 and self.drain is None
        self._only = self.keys[0] if free and self.keys[0].usable and not self.keys[0].resting else None
        self._free = []
        if self.drain is None and not any(key.resting for key in self.keys):
            self._free = [key for key in self.keys if key.usable]
        self._weighed.clear()

    def ready(self, model: str = "") -> float:
        """Seconds until some key may be used; see `providers.types.Provider`."""
        if self._only is not None or self._free:
            return 0.0
        now = monotonic()
        return min((until - now for _, until in self._candidates(model, now)), default=math.inf)

    def choose(self, model: str) -> PooledKey:
        """The key for the next call.

        Raises:
            ProviderCoolingDown: none may be used now; its subclasses say that none ever may, as things stand.
        """
        if self._only is not None:
            return self._only
        now, free = monotonic(), self._free
        if not free:
            candidates = self._candidates(model, now)
            free = [key for key, until in candidates if until <= now]
            if not free:
                raise self._unavailable(min((until for _, until in candidates), default=math.inf) - now)
        return free[0] if len(free) == 1 else _rotated(free, self._weights(model, now))

    def _weights(self, model: str, now: float) -> dict[PooledKey, float]:
        """The weights of all keys for a model; looked at again after a moment, not for every call."""
        known = self._weighed.get(model)
        if known is None or known[0] <= now:
            if len(self._weighed) >= _MOST_MODELS:
                self._weighed.clear()
            known = self._weighed[model] = (now + _WEIGHED_SECONDS, _weighed(self.keys, model))
        return known[1]

    def answered(self, key: PooledKey, model: str, headers: Mapping[str, str]) -> None:
        """A call was answered."""
        key.answered(model, headers)
        if key.resting:
            key.resting.forgive(model)
            self.settle()

    async def refused(self, key: PooledKey, used: bytes, model: str, error: ProviderRefused) -> bool:
        """A call was refused with an error status.

        Args:
            key: the key that it was made with.
            used: the credentials that it carried; the key may have others by now.
            model: what was asked for.
            error: what the provider said; its `key` is set.

        Returns:
            Whether the key has another secret now, so that the same call may succeed.
        """
        error.key = key.label if key.reference else None
        status, out_of_money = error.upstream_status, error.is_spent
        key.answered(model, error.upstream_headers)
        if status not in {_UNAUTHORIZED, _FORBIDDEN, _LIMITED} and not out_of_money:
            return False
        if status == _UNAUTHORIZED and self._renew is not None and key.reference:
            if key.credentials == used:
                await self._renew(key.reference)
            if key.credentials != used:
                return True
        if status == _LIMITED and not out_of_money:
            told = _told(error)
            if told is None:
                told = min(_REST_SECONDS * 2 ** key.resting.count(model), _LONGEST_REST)
            key.resting.add(model, min(max(told, _LEAST_REST), _MOST_SECONDS), "limited")
        elif key.reference:
            self._leave_out(key, "" if status != _FORBIDDEN else model, status, out_of_money=out_of_money)
        self.settle()
        return False

    def _leave_out(self, key: PooledKey, model: str, status: int, *, out_of_money: bool) -> None:
        """Leave a key out that the provider does not accept. The log says so, once for each time."""
        if key.resting.until(model, "refused") > monotonic():
            return
        seconds = min(_OUT_SECONDS * 2 ** key.resting.count(model), _LONGEST_OUT)
        key.resting.add(model, seconds, "refused")
        reason = "its account has run out of money" if out_of_money else f"it answered {status}"
        others = any(other is not key and other.usable for other in self.keys)
        _log.warning(
            "provider_key_refused",
            provider=self.provider,
            key_label=key.label,
            model=model or "all",
            reason=reason,
            seconds=seconds if others else 0,
            remedy="Replace the key."
            if others
            else "Replace the key; it stays in use, for there is no other.",
        )

    def _candidates(self, model: str, now: float) -> list[tuple[PooledKey, float]]:
        """Keys that may be used at some time, with the instant from which on.

        Where the provider accepts none of them, all of them may be tried: what it says is clearer than what we would,
        and the moment from which it accepts one again is not missed.
        """
        if self.drain is not None:
            return []
        usable = [key for key in self.keys if key.usable]
        accepted = [key for key in usable if key.resting.until(model, "refused") <= now]
        return [(key, max(now, key.resting.until(model, "limited"))) for key in accepted or usable]

    def _unavailable(self, seconds: float) -> ProviderCoolingDown:
        """Why no key may be used."""
        name = self.provider
        if self.drain is not None or (any(k.drain for k in self.keys) and seconds == math.inf):
            whole = "" if self.drain is not None else "every key of "
            return ProviderDrained(
                f"{name} is not called: somebody took {whole}it out of use.",
                remedy=f"`mainspring providers undrain {name}` takes it back.",
            )
        if seconds == math.inf:
            problem = next((key.problem for key in self.keys if key.problem is not None), None)
            return ProviderWithoutKey(
                f"{name} has no key to be called with: {problem.message if problem else 'none is there.'}",
                remedy=problem.remedy if problem else "Name one in api_keys.",
            )
        return ProviderCoolingDown(
            f"{name} is not called for {seconds:.1f} s more: it limits the rate of every key that there is.",
            remedy="Try again later, or give it more keys in api_keys.",
            retry_after=max(1, math.ceil(seconds)),
            limited=True,
        )


def _told(error: ProviderRefused) -> float | None:
    """For how many seconds the provider wants to be left alone, if it says so."""
    told = exact_retry_after(error.upstream_headers)
    return seconds_to_reset(read_headroom(error.upstream_headers)) if told is None else told


def _rotated(keys: list[PooledKey], weights: dict[PooledKey, float]) -> PooledKey:
    """The next key in smooth weighted rotation: each gets its share, spread evenly over time."""
    chosen, total = keys[0], 0.0
    for key in keys:
        weight = weights[key]
        total += weight
        key.credit += weight
        if key.credit > chosen.credit:
            chosen = key
    chosen.credit -= total
    return chosen


def _weighed(keys: list[PooledKey], model: str) -> dict[PooledKey, float]:
    """What is left of each key, as a share of what is left of the best; 1 where it is not known.

    Calls under way are not counted: rotation spreads them already.
    """
    left = [key.left(model) for key in keys]
    most_requests = max((one[0] for one in left if one[0] is not None), default=0)
    most_tokens = max((one[1] for one in left if one[1] is not None), default=0)
    return {
        key: max(_LEAST_WEIGHT, min(_share(requests, most_requests), _share(tokens, most_tokens)))
        for key, (requests, tokens) in zip(keys, left, strict=True)
    }


def _share(part: int | None, whole: int) -> float:
    return 1.0 if part is None or whole <= 0 else part / whole
