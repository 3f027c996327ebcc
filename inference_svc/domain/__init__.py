"""What answering means here: rules and use cases, without I/O."""
