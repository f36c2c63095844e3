"""The chores behind `python3 dev.py`, one file for each kind; they need nothing but Python to start."""
