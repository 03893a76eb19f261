"""What the candidates of a replica depend on, read again and again."""
