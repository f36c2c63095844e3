"""Random calls of every operator and layer, valid and not, each in a process that may die.

`python3 dev.py fuzz` runs it. A call is source code (`calls.py`), drawn by the files of `targets/` from a
seed and a number alone; what it is printed as is what ran. Its results and gradients are held against the
float64 reference (`verdict.py`), its refusals against the words that are allowed (`judge.py`).
"""
