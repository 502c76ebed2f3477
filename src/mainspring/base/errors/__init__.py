"""Every error that Mainspring raises on purpose, as one tree.

MainspringError
├── ConfigError                 the configuration says something that cannot be
├── RequestError                the caller can cure it
│   ├── InvalidRequest          400
│   │   ├── ContextLengthExceeded    more tokens than the model takes
│   │   └── NothingFits              no target of the route can do what the request needs
│   ├── AuthenticationFailed    401
│   ├── PermissionDenied        403
│   ├── NotFound                404
│   ├── Conflict                409
│   ├── PayloadTooLarge         413
│   ├── RateLimited             429, a limit of ours
│   └── BudgetExceeded          429, a budget of ours has too little left
│       └── UnknownPrice        nobody knows what the call would cost, so no budget can cover it
├── ProviderError               a model provider did not do its part
│   ├── ProviderRefused         it answered with an error status
│   ├── ProviderUnreachable     no connection, or it broke before an answer
│   ├── ProviderTimeout         connected, but silent for too long
│   ├── ProviderProtocolError   it answered with something that is no answer
│   ├── StreamCut               its answer ended in the middle
│   ├── NoTargetAvailable       every target of a route failed too often to be asked now
│   └── ProviderCoolingDown     none of its keys may be used now; it was not called
│       ├── ProviderDrained         somebody took it out of use
│       └── ProviderWithoutKey      none of its keys is there
├── SecretError                 a secret that is referred to is not there
│   └── SecretUnavailable       where it is kept does not answer
├── Overloaded                  this process has no room for the call now
├── StoreError                  our own database or blob store
│   ├── StoreUnavailable        not reachable, full or locked
│   └── MigrationError          the schema could not be brought up to date
├── LocalModelError             a model in the box cannot be loaded or run
└── ClientGone                  the caller hung up; nobody is there to be told

An error carries what is wrong (`message`), what to do (`remedy`), the HTTP status that fits it and a stable
machine-readable `code`. It never carries a secret or the contents of a conversation: error texts reach logs.
How an error looks on the wire is decided by the dialect of the caller, not here.
"""

from __future__ import annotations

from mainspring.base.errors.callers import (
    AuthenticationFailed,
    BudgetExceeded,
    ClientGone,
    Conflict,
    ContextLengthExceeded,
    InvalidRequest,
    NotFound,
    NothingFits,
    PayloadTooLarge,
    PermissionDenied,
    RateLimited,
    RequestError,
    UnknownPrice,
)
from mainspring.base.errors.configuration import ConfigError, Mistakes
from mainspring.base.errors.ours import (
    LocalModelError,
    MigrationError,
    Overloaded,
    SecretError,
    SecretUnavailable,
    StoreError,
    StoreUnavailable,
)
from mainspring.base.errors.providers import (
    NoTargetAvailable,
    ProviderCoolingDown,
    ProviderDrained,
    ProviderError,
    ProviderProtocolError,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnreachable,
    ProviderWithoutKey,
    StreamCut,
)
from mainspring.base.errors.root import MainspringError, drop_frames

__all__ = [
    "AuthenticationFailed",
    "BudgetExceeded",
    "ClientGone",
    "ConfigError",
    "Conflict",
    "ContextLengthExceeded",
    "InvalidRequest",
    "LocalModelError",
    "MainspringError",
    "MigrationError",
    "Mistakes",
    "NoTargetAvailable",
    "NotFound",
    "NothingFits",
    "Overloaded",
    "PayloadTooLarge",
    "PermissionDenied",
    "ProviderCoolingDown",
    "ProviderDrained",
    "ProviderError",
    "ProviderProtocolError",
    "ProviderRefused",
    "ProviderTimeout",
    "ProviderUnreachable",
    "ProviderWithoutKey",
    "RateLimited",
    "RequestError",
    "SecretError",
    "SecretUnavailable",
    "StoreError",
    "StoreUnavailable",
    "StreamCut",
    "UnknownPrice",
    "drop_frames",
]
