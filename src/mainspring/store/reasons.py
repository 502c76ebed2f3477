"""Why a database cannot be used, in words of ours: drivers quote contents, users and hosts, so nothing of theirs is shown.

What is not known here is told by the name of the driver's error alone.
"""

from __future__ import annotations

#: Parts of what drivers say (libpq has no codes for connections that fail), what they mean, and what helps.
_PHRASES = (
    ("connection refused", "nothing listens at its address", "Start it, or correct host and port."),
    ("could not translate host name", "its host is not known", "Correct the host."),
    ("failed to resolve host", "its host is not known", "Correct the host."),
    ("name or service not known", "its host is not known", "Correct the host."),
    (
        "no such file or directory",
        "nothing listens at its address",
        "Start it, or correct the folder of its socket.",
    ),
    (
        "received invalid response to",
        "what listens at its address is no Postgres",
        "Correct host and port.",
    ),
    (
        "expected authentication request",
        "what listens at its address is no Postgres",
        "Correct host and port.",
    ),
    (
        "invalid sslmode value",
        "its sslmode is not one that Postgres knows",
        "Write disable, prefer, require, verify-ca or verify-full.",
    ),
    ("timeout", "it does not answer in time", "Check that it runs, and that a firewall lets us through."),
    ("no route to host", "there is no way to its host", "Check the network and the host."),
    ("network is unreachable", "there is no way to its host", "Check the network and the host."),
    ("password authentication failed", "it does not accept user and password", "Correct the two."),
    ("no password supplied", "it wants a password", "Add one: postgresql://USER:PASSWORD@HOST/NAME."),
    (
        "no pg_hba.conf entry",
        "it lets nobody in from here",
        "Allow user, database and address in pg_hba.conf.",
    ),
    (
        "too many clients",
        "all of its connections are taken",
        "Raise max_connections, or run fewer processes.",
    ),
    ("connection slots are reserved", "all of its connections are taken", "Raise max_connections."),
    ("server does not support ssl", "it does not speak TLS", "Leave sslmode out, or switch TLS on there."),
    ("certificate", "its certificate is not trusted", "Check sslmode and sslrootcert."),
    ("permission denied", "this user may not do what is needed there", "Let it own the database."),
)
#: What has a code: SQLite's names, Postgres' states, and phrases about users and databases.
_CODES = {
    "SQLITE_NOTADB": ("the file is no SQLite database", "Name another file."),
    "SQLITE_CORRUPT": ("the file is damaged", "Put a backup in its place."),
    "SQLITE_CANTOPEN": ("the file cannot be opened", "Let this user read and write it and its folder."),
    "SQLITE_READONLY": ("the file may only be read", "Let this user write it and its folder."),
    "SQLITE_PERM": ("the file may not be opened", "Let this user read and write it and its folder."),
    "SQLITE_FULL": ("its disk is full", "Make room on it."),
    "SQLITE_IOERR": ("its disk is full or fails", "Make room on it, or check it and the file system."),
    "SQLITE_BUSY": (
        "another process holds its lock",
        "End what holds it; network file systems cannot be used.",
    ),
    "SQLITE_LOCKED": ("another process holds its lock", "End what holds it."),
    "42501": ("this user may not do what is needed there", "Let it own the database, or grant it CREATE."),
    "53100": ("its disk is full", "Make room on it."),
    "53300": ("all of its connections are taken", "Raise max_connections, or run fewer processes."),
    "57P03": ("it is starting or stopping", "Try again in a moment."),
    "25006": ("it may only be read", "Name the primary, not a replica."),
}


def reason(error: BaseException) -> tuple[str, str] | None:
    """What is the matter and what to do; None where that is not known."""
    name = str(getattr(error, "sqlite_errorname", "") or "")
    for code in (name, "_".join(name.split("_")[:2]), getattr(error, "sqlstate", None)):
        if code in _CODES:
            return _CODES[code]
    text = str(error).lower()
    if "does not exist" in text and 'database "' in text:
        return "there is no database of that name", "Create it, or correct the name."
    if "does not exist" in text and 'role "' in text:
        return "there is no user of that name", "Create it, or correct the name."
    return next(((what, remedy) for phrase, what, remedy in _PHRASES if phrase in text), None)
