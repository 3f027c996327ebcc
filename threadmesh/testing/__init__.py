"""Parts for tests of units: a clock that is turned by hand and a server on loopback."""
