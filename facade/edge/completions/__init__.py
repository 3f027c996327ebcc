"""`/v1/completions`: texts that are gone on with as they stand, without a conversation."""
