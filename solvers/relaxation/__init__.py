"""Relaxations: Richardson, Jacobi, Gauss-Seidel, SOR and SSOR iteration."""
