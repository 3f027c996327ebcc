"""The users of this machine, as those that servers run as."""

import os
import pwd
from dataclasses import dataclass

_LARGEST_ID = 2**32 - 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user: its numbers, and what a program finds of it in its environment."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    home: str


def find_account(user: str | int) -> Account | None:
    """Find a user by name or number; None when there is none of that name.

    A number needs no entry in the system's list: it is in the group of the same number, and at home in `/`.
    """
    try:
        entry = pwd.getpwuid(user) if isinstance(user, int) else pwd.getpwnam(user)
    except (KeyError, OverflowError, ValueError):
        if not isinstance(user, int) or not 0 <= user <= _LARGEST_ID:
            return None
        return Account(uid=user, gid=user, groups=(), name=str(user), home="/")
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return Account(uid=entry.pw_uid, gid=entry.pw_gid, groups=groups, name=entry.pw_name, home=entry.pw_dir)


def is_ours(account: Account) -> bool:
    """Whether this process runs as that user."""
    return account.uid == os.geteuid()


def may_become(account: Account) -> bool:
    """Whether this process can start another one as that user."""
    return is_ours(account) or os.geteuid() == 0
