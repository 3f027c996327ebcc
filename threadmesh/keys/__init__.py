"""API keys: what they are (`key`) and the file that holds them (`file`)."""
