"""Matrix functions by products alone: Newton-Schulz iterations and the schedules of polynomials that drive them."""
