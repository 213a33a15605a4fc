"""The solvers: one method a file, all run by the driver in ``iterate``. The package's face has their names."""
