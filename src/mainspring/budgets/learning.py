"""What was learned of models: how long their answers are, and how far calls went beyond what was thought possible.

In memory, by process: it makes estimates better and is never needed for a sum to be right.
"""

from __future__ import annotations

from typing import NamedTuple

#: Answers that must have been seen before their lengths are relied on.
ENOUGH = 20
#: A bound that was passed is raised by so much more.
_MARGIN = 1.1
#: No bound is raised further than this: a provider that bills a hundred times what it was asked is no estimate's matter.
_MOST = 16.0
#: What a call that stayed within its uncorrected bounds leaves of a correction: half of it after 35 of them.
_KEPT = 0.98
#: Models remembered: callers choose their names.
_MOST_MODELS = 5000
_HALVE = 4096


class Correction(NamedTuple):
    """By how much the bounds of a model are raised."""

    prompt: float = 1.0
    output: float = 1.0


#: Of a model whose calls have stayed within their bounds.
NO_CORRECTION = Correction()


class _Model:
    __slots__ = ("correction", "lengths", "seen")

    def __init__(self) -> None:
        self.correction = NO_CORRECTION
        #: Answers by the number of bits of their length.
        self.lengths = [0] * 32
        self.seen = 0


class Learned:
    """What this process knows of the models that it has called."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], _Model] = {}

    def correction(self, provider: str, model: str) -> Correction:
        """By how much to raise the bounds of a call."""
        known = self._models.get((provider, model))
        return known.correction if known is not None else NO_CORRECTION

    def usual_output(self, provider: str, model: str) -> int | None:
        """More than nearly every answer of a model has: twice the length that one in a hundred reaches; None unknown."""
        known = self._models.get((provider, model))
        if known is None or known.seen < ENOUGH:
            return None
        beyond = max(1, sum(known.lengths) // 100)
        for bits in range(len(known.lengths) - 1, -1, -1):
            beyond -= known.lengths[bits]
            if beyond < 0 or (beyond == 0 and known.lengths[bits]):
                return 2 << bits
        return None

    def note(  # noqa: PLR0917 - two pairs
        self, provider: str, model: str, prompt: int, output: int, most_prompt: int, most_output: int
    ) -> Correction | None:
        """Learn from a call that was made alone.

        Args:
            provider: who was called.
            model: which model.
            prompt: tokens that it counted.
            output: tokens that it made.
            most_prompt: what was thought to be the most, without a correction.
            most_output: the same of the answer.

        Returns:
            The new correction, where the call went beyond the bounds that were in force.
        """
        known = self._models.get((provider, model))
        if known is None:
            if len(self._models) >= _MOST_MODELS:
                return None
            known = self._models[provider, model] = _Model()
        if output:
            known.lengths[min(31, output.bit_length())] += 1
            known.seen += 1
            if known.seen % _HALVE == 0:
                known.lengths = [number // 2 for number in known.lengths]
        now = known.correction
        if not most_output:  # no bound was needed
            output = 0
        if prompt <= most_prompt * now.prompt and output <= most_output * now.output:
            if now is not NO_CORRECTION:  # one call that was odd must not make all others dear for ever
                known.correction = Correction(
                    _lowered(now.prompt, prompt, most_prompt), _lowered(now.output, output, most_output)
                )
            return None
        known.correction = Correction(
            _raised(now.prompt, prompt, most_prompt), _raised(now.output, output, most_output)
        )
        return known.correction


def _raised(now: float, used: int, most: int) -> float:
    if used <= most * now:
        return now
    return min(_MOST, max(now, used / max(1, most) * _MARGIN))


def _lowered(now: float, used: int, most: int) -> float:
    return 1.0 + (now - 1.0) * _KEPT if used <= most else now
