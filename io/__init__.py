"""Matrix and vector files."""
