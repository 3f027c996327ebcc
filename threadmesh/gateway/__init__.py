"""The tools service as an MCP server, whatever carries the messages; what reaches the service comes in as a port."""
