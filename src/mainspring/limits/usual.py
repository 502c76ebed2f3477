"""What requests to a model usually use, learned from those that were answered: for estimates, never for bills."""

from __future__ import annotations

#: How much the newest answer counts.
_WEIGHT = 0.1
#: Answers after which a usual output is believed.
_ENOUGH = 10
#: Output of a model that nobody knows yet, where the caller sets no bound.
_UNKNOWN_OUTPUT = 500
_UNKNOWN_TOKENS_PER_BYTE = 0.25
#: Names that callers may make up are not remembered without end.
_MOST = 5_000


class _Model:
    __slots__ = ("deviation", "output", "per_byte", "seen")

    def __init__(self) -> None:
        self.seen = 0
        self.output = 0.0
        self.deviation = 0.0
        self.per_byte = _UNKNOWN_TOKENS_PER_BYTE


class Usual:
    """Decaying means by the name that callers ask for."""

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}

    def prompt(self, model: str, size: int) -> int:
        """Tokens that a body of so many bytes probably has."""
        known = self._models.get(model)
        return int(size * (known.per_byte if known is not None else _UNKNOWN_TOKENS_PER_BYTE)) + 1

    def output(self, model: str, most: int | None) -> int:
        """Tokens that will probably not be exceeded much, nor left unused by far: the mean and two mean deviations.

        Args:
            model: as asked for.
            most: the caller's own bound.
        """
        known = self._models.get(model)
        if known is None or known.seen < _ENOUGH:
            return _UNKNOWN_OUTPUT if most is None else most
        usual = int(known.output + 2 * known.deviation) + 1
        return usual if most is None else min(usual, most)

    def learn(self, model: str, *, size: int | None, prompt: int, output: int) -> None:
        """Take an answer into account.

        Args:
            model: as asked for.
            size: bytes of the body, if they say something of the prompt.
            prompt: tokens that went in, by the provider's count.
            output: tokens that came out.
        """
        known = self._models.get(model)
        if known is None:
            if len(self._models) >= _MOST:
                self._models.clear()
            known = self._models[model] = _Model()
        known.seen += 1
        # The first answers count more, so that a guess is soon forgotten.
        weight = max(_WEIGHT, 1 / known.seen)
        known.deviation += weight * (abs(output - known.output) - known.deviation) if known.seen > 1 else 0.0
        known.output += weight * (output - known.output)
        if size and prompt:
            known.per_byte += weight * (prompt / size - known.per_byte)
