"""Links between units: how they are secured, who is at their other end, and what he may call."""
