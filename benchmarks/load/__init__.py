"""The client: sends requests and notes when each piece of an answer arrives."""
