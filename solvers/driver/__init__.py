"""What every solve goes through: problem, method, iterate, stopping, solution. Knows nothing of A x = b."""
