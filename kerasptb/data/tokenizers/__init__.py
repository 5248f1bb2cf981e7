"""What a text is cut into: a kind of tokens a file."""
