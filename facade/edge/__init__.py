"""HTTP: decode, call the domain, encode."""
