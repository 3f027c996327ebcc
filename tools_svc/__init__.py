"""Finds and runs tools: the tools of MCP servers, checked, in parallel, with progress."""
