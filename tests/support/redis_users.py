"""A user of a shared Redis whose permissions a test can remove."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from msgspec import Struct

from shared.settings.sections import RedisSettings
from shared.store.client import connect


class RedisUser(Struct, frozen=True):
    """A user with all permissions until a test removes some."""

    name: str
    url: str
    admin: Any

    def change(self, *rules: str) -> None:
        """Change the permissions of the user."""
        self.admin.execute_command("ACL", "SETUSER", self.name, *rules)


@contextmanager
def redis_user(redis_url: str) -> Iterator[RedisUser]:
    """Create a user, who is deleted at the end."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    parts = urlsplit(redis_url)
    url = urlunsplit(parts._replace(netloc=f"{name}:secret@{parts.netloc}"))
    with closing(connect(RedisSettings(url=redis_url))) as admin:
        user = RedisUser(name, url, admin)
        user.change("on", ">secret", "~*", "+@all")
        yield user
        user.admin.execute_command("ACL", "DELUSER", name)
