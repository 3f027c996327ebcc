"""Builds what the mesh is measured against, once, under `.build/peers/`."""
