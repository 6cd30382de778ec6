"""The handler table: its rows, the check of them when the service starts, and the lookup of a message."""
