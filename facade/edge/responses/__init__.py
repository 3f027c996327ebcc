"""`/v1/responses`: runs in OpenAI's words for items and events."""
