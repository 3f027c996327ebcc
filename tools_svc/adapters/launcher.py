"""Becomes a tool server that dies with the process that started it.

Run as a script by path, in an isolated interpreter: `launcher.py <parent's pid> <nice> <command> [arguments...]`. Linux
clears no such setting on exec, so nothing of Python stays behind. A hook between fork and exec would run Python code in
the forked copy of a process with gRPC's threads, which can deadlock.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def _main() -> None:
    parent, nice, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.nice(nice)
    if os.getppid() != parent:
        # The parent died before the signal was set, so it will never come.
        sys.exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606  # a command of the servers file, as a list, without a shell
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    _main()
