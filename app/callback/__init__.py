"""The door of WeChat's server: the road of a message, one file a step. It starts in ``route``."""
