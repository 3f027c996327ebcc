"""`signing.py PORT NAME BEHAVIOUR`: signs in at the test's roll, then waits, resists, crashes or refuses to start."""

import signal
import socket
import sys


def main() -> None:
    port, name, behaviour = sys.argv[1:]
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    connection = socket.create_connection(("127.0.0.1", int(port)))
    connection.sendall(f"{name}\n".encode())
    if behaviour == "misconfigured":
        sys.stderr.write(f"{name}: configuration: {name.upper()}_COLOUR: no such setting\n")
        sys.exit(78)
    if behaviour == "crash":
        sys.stdout.write('{"event": "engine.broken", "level": "error"}\n')
        sys.stdout.flush()
        sys.exit(1)
    signal.pause()


if __name__ == "__main__":
    main()
