"""Remembers what was said and done: threads, items, runs and their event logs."""
