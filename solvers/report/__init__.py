"""What a person reads of a Solution: text for a terminal, and figures."""
