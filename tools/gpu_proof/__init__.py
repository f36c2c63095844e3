"""`python3 dev.py gpu`: everything that only a machine with a GPU can prove, in one command.

Each stage is a process of its own with a time limit, so that one that fails, hangs or loses the device costs
the others nothing. docs/gpu.md tells how to read the record.
"""
