"""The OpenAI face of the mesh: REST and server-sent events outside, the turn inside."""
