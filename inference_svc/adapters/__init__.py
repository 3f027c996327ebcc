"""The engines: one module for each technology."""
