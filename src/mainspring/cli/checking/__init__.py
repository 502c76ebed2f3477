"""What `mainspring check` looks at: the configuration, what it names, and what is in force.

Everything is looked at as a server would use it, and nothing is changed but that a database is brought up to date. It
does not ask whether a server runs; what goes on in one is shown by its console and its metrics.
"""

from mainspring.cli.checking.examination import examine
from mainspring.cli.checking.findings import Finding

__all__ = ["Finding", "examine"]
