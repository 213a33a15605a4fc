"""What ``layers.solve`` is made of: A as a function of tensors, the plan of its solves, and their derivatives."""
