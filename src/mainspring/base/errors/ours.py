"""What fails on our own side: secrets, room, the store, models in the box."""

from __future__ import annotations

from mainspring.base.errors.root import MainspringError


class SecretError(MainspringError):
    """A secret that the configuration refers to is not there, or cannot be read."""

    code = "secret_error"


class SecretUnavailable(SecretError):
    """Where the secret is kept does not answer. What was read before stays in use."""

    status = 503
    code = "secret_unavailable"
    retryable = True


class Overloaded(MainspringError):
    """This process has no room for the call now."""

    status = 503
    code = "overloaded"
    retryable = True


class StoreError(MainspringError):
    """Our own database or blob store failed."""

    status = 503
    code = "store_error"
    retryable = True


class StoreUnavailable(StoreError):
    """The store cannot be reached, is full, or stays locked."""

    code = "store_unavailable"


class MigrationError(StoreError):
    """The schema could not be brought up to date."""

    code = "migration_error"
    retryable = False


class LocalModelError(MainspringError):
    """A model in the box is not there, or cannot be loaded or run."""

    status = 503
    code = "local_model_error"
