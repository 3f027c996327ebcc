"""`/v1/runs`: what OpenAI has no word for."""
