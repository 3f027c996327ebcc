"""Logs and metrics, made alike in every unit."""
