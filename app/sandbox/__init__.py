"""WeChat itself, played locally: the other side of what this service talks to."""
