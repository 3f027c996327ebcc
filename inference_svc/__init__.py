"""Turns conversations into streams of token events: models, backends, batching, KV cache."""
