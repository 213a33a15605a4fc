"""Other libraries' interfaces over the solvers of this one, so that a program moves by changing an import."""
