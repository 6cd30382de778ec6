"""Many accounts behind one port 80, each with a uWSGI of its own: what they share, and what they do not."""
