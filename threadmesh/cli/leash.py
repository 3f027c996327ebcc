"""Runs a program that ends with its parent: `python leash.py <parent's pid> <program> [argument ...]`.

The kernel sends SIGTERM when the parent dies, even if it is killed (PR_SET_PDEATHSIG, kept over exec). It is a program
of its own because running Python between fork and exec is unsafe beside gRPC's threads; it imports nothing of ours.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the program."""
    parent, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):  # it died before the kernel knew whom to watch
        sys.exit("the supervisor is gone")
    os.execvp(command[0], command)  # noqa: S606  # the supervisor starts the commands it is configured with


if __name__ == "__main__":
    main()
