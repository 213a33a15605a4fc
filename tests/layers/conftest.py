"""Torch works with one thread: workers of the suite share the cores, and threads that wait for each other stall."""

import torch

torch.set_num_threads(1)
