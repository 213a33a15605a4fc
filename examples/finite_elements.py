"""Every symmetric positive definite finite-element system that PyAMG ships, by conjugate gradients with three
preconditioners: iterations to a true residual of 1e-8, and the condition number of A and of M A.

Needs PyAMG: pip install 'resolvent[amg]'.
"""

import resolvent as rv


def main() -> None:
    """Print a line for each system."""
    print(f"{'system':31}{'unknowns':>9}{'condition':>12}   {'plain':>16}{'Jacobi':>16}{'SSOR':>16}")
    for name in rv.gallery.finite_element_names():
        problem = rv.gallery.load_finite_elements(name)
        if not problem.positive_definite:
            continue
        A, b = problem.A, problem.b
        cells = []
        for M in (None, rv.precondition.jacobi(A), rv.precondition.ssor(A, 1.5)):
            solution = rv.cg(A, b, M=M, rtol=1e-8).raise_for_status()
            cells.append(f"{solution.iterations:>5}, κ {solution.condition:<8.3g}")
        print(f"{name:31}{A.shape[0]:>9}{problem.condition:>12.4g}   {''.join(cells)}")
    print("\nκ: condition of M A as the iteration saw it, a lower bound; without M, of A.")


if __name__ == "__main__":
    main()
