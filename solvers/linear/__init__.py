"""Linear systems A x = b: the problem in its units, the choice of a method, refinement."""
