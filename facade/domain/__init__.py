"""The rules of a turn: what is asked of a model, which tools run, what is written down."""
