"""What differentiable matrix functions are made of: solvers forwards, equations of Lyapunov's kind for derivatives."""
