"""The technologies behind the domain's ports: MCP, JSON Schema, Prometheus."""
