"""What is left when processes die."""
