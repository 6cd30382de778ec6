"""What strangers try: each against real nginx and real uWSGI from the shipped files."""
