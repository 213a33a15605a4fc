"""Triton kernels, all of them in the table of ``table.py``; docs/triton_kernels.md says how to add one."""
