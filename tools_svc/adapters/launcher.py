"""Becomes a tool server that dies with the process that started it, and may do no more than it shall.

Run as a script by path, in an isolated interpreter: `launcher.py <parent's pid> <options> <path> <command>
[arguments...]`, where the path is the command's file, and options are `name=number` with commas between: `nice`, `data`
(bytes), `files`, `processes`, `uid`, `gid`, `groups` (numbers with `+` between), `network` (0: none). Linux clears no
such setting on exec, so nothing of Python stays behind. A hook between fork and exec would run Python code in the
forked copy of a process with gRPC's threads, which can deadlock.
"""

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Mapping

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_LIMITS = {"data": resource.RLIMIT_DATA, "files": resource.RLIMIT_NOFILE, "processes": resource.RLIMIT_NPROC}


def _main() -> None:
    parent, path, command = int(sys.argv[1]), sys.argv[3], sys.argv[4:]
    options = dict(each.split("=") for each in sys.argv[2].split(","))
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        _confine(libc, options)
    except OSError as error:
        sys.exit(f"{command[0]}: it cannot be confined: {error.strerror}")
    # After the change of the user, which clears it.
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        # The parent died before the signal was set, so it will never come.
        sys.exit(1)
    try:
        os.execv(path, command)  # noqa: S606  # a command of the servers file, as a list, without a shell
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


def _confine(libc: ctypes.CDLL, options: Mapping[str, str]) -> None:
    os.nice(int(options["nice"]))
    if options.get("network") == "0":
        _leave_network(libc)
    if "uid" in options:
        os.setgroups([int(group) for group in options["groups"].split("+") if group])
        os.setgid(int(options["gid"]))
        os.setuid(int(options["uid"]))
    for name, limit in _LIMITS.items():
        if name in options:
            _lower(limit, int(options[name]))


def _lower(limit: int, wanted: int) -> None:
    _, most = resource.getrlimit(limit)
    value = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(limit, (value, value))


def _leave_network(libc: ctypes.CDLL) -> None:
    uid, gid = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWNET) != 0:
        # Who is not root may have a network namespace only in a user namespace, in which it stays who it is.
        if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"no network namespace ({os.strerror(ctypes.get_errno())})")
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
    _raise_loopback()


def _write(path: str, text: str) -> None:
    file = os.open(path, os.O_WRONLY)
    os.write(file, text.encode())
    os.close(file)


def _raise_loopback() -> None:
    # Here, because most servers need none of them, and each would wait for them.
    import fcntl  # noqa: PLC0415
    import socket  # noqa: PLC0415
    import struct  # noqa: PLC0415

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


if __name__ == "__main__":
    _main()
