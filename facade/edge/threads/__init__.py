"""`/v1/threads`: what OpenAI has no word for."""
