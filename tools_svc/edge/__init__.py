"""The wire of tools_svc: gRPC in, gRPC out."""
