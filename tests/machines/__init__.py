"""`python -m tests.machines.machines`: several machines with one answer, while some of them are lost."""
