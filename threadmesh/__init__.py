"""What every unit of the mesh shares; it knows none of them."""

import os

# Read when `grpc` is imported, so this stands where every import of the mesh begins. gRPC would start threads of its
# own in the copy of a process that uvloop forks to become a tool server, and one in ten to fifty such copies crashed
# before it did. Nothing here forks without an exec, which is all that this support is for.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
