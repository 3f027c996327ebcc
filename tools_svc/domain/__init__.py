"""The rules of tools: what is offered, what may be called, how a call ends. No I/O, no frameworks, no protobuf."""
