"""References to secrets, and how things that may hold a secret are shown.

A reference says where a secret is kept: `env:NAME`, `file:PATH`, `vault:PATH#FIELD` (HashiCorp Vault, KV version 2) or
`aws:NAME` and `aws:NAME#FIELD` (AWS Secrets Manager). Any other text is the secret itself. How it is read from there is
known in `base.secrets`.
"""

from __future__ import annotations

import difflib
import re

#: The kinds of references.
KINDS = ("env", "file", "vault", "aws")
#: How a variable is written in a shell; here it would be sent as if it were the key.
_OF_A_SHELL = re.compile(r"\$(\w+|\{\w+\}|\(\w+\))|%\w+%")
#: How others write that a key is in a variable: os.environ/NAME, os.environ["NAME"], env.NAME, ENV:NAME, or the bare name.
_OF_OTHERS = re.compile(
    r"""os\.environ[/[.("' ]*(?:get\(["'])?(\w+)["'\])]*|(?:process\.)?env[./](\w+)|ENV:(\w+)"""
    r"|([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*_(?:KEY|TOKEN|SECRET)(?:_\d+)?)"
)
_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_PASSWORD_IN_QUERY = re.compile(r"(?i)([?&][^=&]*(?:password|secret|token|key)=)[^&#]*")
_PREFIX = re.compile(r"([a-z]{2,12}):(?!//)")


def kind_of(reference: str) -> str:
    """The kind of a reference, `literal` for a text that is the secret itself."""
    kind, colon, _ = reference.partition(":")
    return kind if colon and kind in KINDS else "literal"


def check_reference(reference: str) -> None:
    """See whether a reference can be one. A misspelt kind would else be taken for a secret, and sent.

    Raises:
        ValueError: it is of an unknown kind or has no name; the text names what is wrong and what to write.
    """
    kind = kind_of(reference)
    rest = reference.partition(":")[2]
    if kind == "literal":
        if (prefix := _PREFIX.match(reference)) is not None:
            near = difflib.get_close_matches(prefix[1], KINDS, 1, 0.5)
            meant = f"did you mean {near[0]}:?" if near else f"known are {', '.join(f'{k}:' for k in KINDS)}"
            raise ValueError(f"{prefix[1]}: is no kind of reference; {meant}")
        if _OF_A_SHELL.fullmatch(reference):
            name = reference.strip("${}()%")
            raise ValueError(f"{reference!r} is a variable as shells write it; write env:{name}")
        if (other := _OF_OTHERS.fullmatch(reference)) is not None:
            name = next(filter(None, other.groups()))
            raise ValueError(f"{reference!r} is the name of a variable, not a key; write env:{name}")
        return
    if not rest.strip():
        raise ValueError(f"{reference!r} names nothing; write {_EXAMPLES[kind]}")
    if kind == "env" and not _VARIABLE.fullmatch(rest):
        # It is not shown: most often it is the key itself.
        raise ValueError(
            "what follows env: cannot be the name of a variable; write env:OPENAI_API_KEY, or the key without env:"
        )
    if kind == "vault" and not all(part.strip("/ ") for part in _parts(rest)):
        raise ValueError(f"{reference!r} names no field; write {_EXAMPLES['vault']}")


def redact(reference: str) -> str:
    """A reference as it may be shown: names stay, a literal secret becomes `set`."""
    return "set" if kind_of(reference) == "literal" else reference


def shown(reference: str) -> str:
    """The same as the subject of a sentence."""
    return "A key in the configuration" if kind_of(reference) == "literal" else reference


def without_password(url: str) -> str:
    """A URL as it may be shown."""
    url = _PASSWORD_IN_QUERY.sub(r"\1***", url)
    head, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    if "@" not in rest:
        return url
    credentials, _, host = rest.rpartition("@")
    return f"{head}{separator}{credentials.split(':', 1)[0]}:***@{host}"


_EXAMPLES = {
    "env": "env:OPENAI_API_KEY",
    "file": "file:/run/secrets/openai",
    "vault": "vault:secret/openai#api_key",
    "aws": "aws:prod/openai or aws:prod/openai#api_key",
}


def _parts(rest: str) -> tuple[str, str]:
    path, _, field = rest.rpartition("#")
    return path, field
