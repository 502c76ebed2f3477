"""Fixtures that every test may ask for live in tests/support, one file per kind of thing they start."""

pytest_plugins = [
    "tests.support.databases",
    "tests.support.local_models",
    "tests.support.provider_server",
    "tests.support.redis",
    "tests.support.server",
]
