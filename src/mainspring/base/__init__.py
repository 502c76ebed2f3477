"""The ground floor: settings, errors, ids, clock, money, logging and telemetry.

Everything here is about a process in general. It knows nothing of databases, models, keys or HTTP, and imports no
room above it. There is nothing to import from the package itself; each module is imported by its name.
"""

__all__: list[str] = []
