"""Who may ask: keys, their tenants and roles, and what each may do.

A key is a secret that is shown once and kept as its SHA-256. Checking one looks into a snapshot in memory and never
asks the database; a version counter in the database tells every process of a change within a second. The room knows
nothing of HTTP, models or what is asked; it says who is asking, or why not.
"""

from mainspring.keys.secrets import ADMIN_KEY_FILE, check_admin_key
from mainspring.keys.service import KeyRing
from mainspring.keys.types import Key, KeyPage, Principal, Subject

__all__ = ["ADMIN_KEY_FILE", "Key", "KeyPage", "KeyRing", "Principal", "Subject", "check_admin_key"]
