"""`make bench`: requests per second of the callback and of its neighbours, in one run."""
