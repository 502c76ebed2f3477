"""The shared-state port: meters that every process of an instance reads and moves together.

A meter counts what goes through (a level that drains with time) and what is under way (held until it is given back).
Several are moved in one step or not at all. `memory://` keeps them in this process; `redis://` keeps them in Redis or
Valkey, so that all processes on all machines see the same. What a meter stands for, the rooms above know.
"""

from mainspring.store.shared.opening import open_shared
from mainspring.store.shared.types import Allowance, Ask, Shared, SharedStatus, Taken

__all__ = ["Allowance", "Ask", "Shared", "SharedStatus", "Taken", "open_shared"]
