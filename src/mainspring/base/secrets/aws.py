"""AWS Secrets Manager, through botocore: it finds the credentials that a machine of AWS has, in all of their ways.

The region and the credentials are as for every AWS client (`AWS_REGION`, `AWS_PROFILE`, roles of pods and machines);
`AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_SECRETS_MANAGER` lead elsewhere.
"""

from __future__ import annotations

import threading
from typing import Any

import msgspec

from mainspring.base.errors import ConfigError, SecretError, SecretUnavailable
from mainspring.base.secrets.types import Secret

_SECONDS = 5
#: Errors that say that the secret is not there or may not be read; all others may pass.
_LASTING = {
    "ResourceNotFoundException": ("there is no such secret", "Check its name and the region."),
    "InvalidRequestException": ("it is marked for deletion", "Restore it, or name another."),
    "AccessDeniedException": (
        "these credentials may not read it",
        "Give their role secretsmanager:GetSecretValue on it.",
    ),
    "UnrecognizedClientException": ("AWS does not know these credentials", "Check AWS_PROFILE or the role."),
    "ExpiredTokenException": ("the credentials have expired", "Renew them."),
}
_lock = threading.Lock()
_clients: dict[str, Any] = {}


def read_aws(name: str) -> Secret:
    """Read `NAME` or `NAME#FIELD`, where the secret is a JSON object and one of its members is meant.

    Raises:
        SecretError: there is no such secret or field, it may not be read, or AWS is not configured.
        SecretUnavailable: AWS does not answer.
        ConfigError: the extra is not installed.
    """
    secret_id, _, field = name.partition("#")
    shown = f"aws:{name}"
    answer = _get(secret_id, shown)
    text = answer.get("SecretString")
    if not isinstance(text, str):
        raise SecretError(
            f"{shown}: the secret is binary.",
            remedy="Keep the key as a text, or as a member of a JSON object.",
        )
    if field:
        text = _member(text, field, shown)
    if not text.strip():
        raise SecretError(f"{shown}: the secret is empty.", remedy="Put the key into it.")
    created = answer.get("CreatedDate")
    return Secret(text.strip(), None if created is None else int(created.timestamp() * 1_000_000))


def _get(secret_id: str, shown: str) -> dict[str, Any]:
    client = _client()
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError  # noqa: PLC0415 - an extra

    try:
        answer: dict[str, Any] = client.get_secret_value(SecretId=secret_id)
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _LASTING:
            what, remedy = _LASTING[code]
            raise SecretError(f"{shown}: {what}.", remedy=remedy) from None
        raise SecretUnavailable(
            f"{shown}: AWS answers {code or 'with an error'}.", remedy="Try again later."
        ) from None
    except NoCredentialsError:
        raise SecretError(
            "A secret is kept in AWS, but there are no AWS credentials.",
            remedy="Set AWS_PROFILE or AWS_ACCESS_KEY_ID, or give the machine or pod a role.",
        ) from None
    except BotoCoreError as error:
        raise SecretUnavailable(
            f"{shown}: AWS does not answer ({type(error).__name__}).",
            remedy="Check the network, AWS_REGION and AWS_ENDPOINT_URL.",
        ) from None
    return answer


def _client() -> Any:
    """One for the process: making it takes 0.5 s. It is safe to be used by several threads."""
    with _lock:
        if "secretsmanager" not in _clients:
            try:
                from botocore.config import Config  # noqa: PLC0415 - an extra
                from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - as above
                from botocore.session import get_session  # noqa: PLC0415 - as above
            except ImportError:
                raise ConfigError(
                    "A secret is kept in AWS, but botocore is not installed.",
                    remedy="Install the extra `aws`: `.venv/bin/pip install -e '.[aws]'` in a clone.",
                ) from None
            config = Config(
                connect_timeout=_SECONDS,
                read_timeout=_SECONDS,
                retries={"max_attempts": 2, "mode": "standard"},
            )
            try:
                _clients["secretsmanager"] = get_session().create_client("secretsmanager", config=config)
            except (BotoCoreError, ValueError) as error:
                raise SecretError(
                    f"A secret is kept in AWS, but its client cannot be made: {error}",
                    remedy="Set AWS_REGION; check AWS_PROFILE and AWS_ENDPOINT_URL.",
                ) from None
        return _clients["secretsmanager"]


def _member(text: str, field: str, shown: str) -> str:
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        document = None
    value = document.get(field) if isinstance(document, dict) else None
    if not isinstance(value, str):
        raise SecretError(
            f"{shown}: the secret is no JSON object with a text under {field!r}.",
            remedy="Name one of its members behind the #, or leave the # out for the whole secret.",
        )
    return value
