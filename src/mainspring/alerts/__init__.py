"""What is wrong, and who was told: rules over the sums of the ledger and over states, alerts, and their messages.

Rules stand in the configuration. One process at a time looks at them, every few seconds, and writes what it finds in
one transaction: alerts that open and resolve, and the messages about them. Messages are rows that are sent again until
somebody takes them. The room reads the rooms below through their services and knows how a webhook, Slack and a mail
server want to be spoken to. It does not know who may see an alert, or how a page shows it.
"""

from mainspring.alerts.service import Alerts
from mainspring.alerts.sources import Sources
from mainspring.alerts.types import (
    Alert,
    AlertFilter,
    AlertPage,
    Delivery,
    DeliveryPage,
    Reading,
    Silence,
)

__all__ = [
    "Alert",
    "AlertFilter",
    "AlertPage",
    "Alerts",
    "Delivery",
    "DeliveryPage",
    "Reading",
    "Silence",
    "Sources",
]
