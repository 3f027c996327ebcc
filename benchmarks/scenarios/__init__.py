"""One question a module; the registry is `benchmarks.registry`."""
