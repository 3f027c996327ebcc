"""Where the database servers of tests keep their files."""

import os

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""In memory, if there is such a place: what a busy disk makes them wait for, tests would take for an outage."""
