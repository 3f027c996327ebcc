"""Engines without a server around them: ours, and llama.cpp's own bench."""
