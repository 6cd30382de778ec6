"""`python -m tests.load.load`: many slow conversations at once, and whether each fan is answered exactly once."""
