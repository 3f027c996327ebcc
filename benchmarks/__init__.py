"""Measures the mesh side by side with its peers on the same machine; see README.md."""
