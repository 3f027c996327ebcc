"""What is measured: servers that answer the same requests, only one of them awake at a time."""
