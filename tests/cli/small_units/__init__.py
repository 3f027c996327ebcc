"""Units that serve nothing but their health, through the real kit: what a supervisor sees of a unit."""
