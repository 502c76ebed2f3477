"""How much is let through: requests a second, tokens a minute and requests under way, per user, key, tenant, feature.

The room knows which limits are about a subject, asks the shared state for room in all of them at once, and says no
with the reason and the time to come back. Where the meters are kept, how a request is read, and what it costs in money
it does not know.
"""

from mainspring.limits.service import Limits
from mainspring.limits.types import Grant, LimitsStatus, RuleStatus

__all__ = ["Grant", "Limits", "LimitsStatus", "RuleStatus"]
