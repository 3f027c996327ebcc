"""`/v1/conversations`: threads in OpenAI's words."""
