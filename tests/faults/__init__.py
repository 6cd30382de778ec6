"""What the service does when processes die, the cache fails, handlers misbehave and everything comes at once."""
