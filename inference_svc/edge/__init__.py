"""The wire: decode, call the domain, encode."""
