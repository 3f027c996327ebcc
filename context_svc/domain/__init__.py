"""The rules of threads and runs. No I/O, no frameworks, no protobuf."""
