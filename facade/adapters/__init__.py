"""The other units as the turn sees them."""
