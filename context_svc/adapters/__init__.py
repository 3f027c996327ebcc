"""Stores: one module per technology."""
