"""What a user waits for before anything else."""


def timeraw_import() -> str:
    """In a new interpreter."""
    return "import resolvent"


def timeraw_import_scipy_sparse() -> str:
    """Most of it is this."""
    return "import scipy.sparse.linalg"
