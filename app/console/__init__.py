"""DOOR of the operator's browser: ``/console/``."""
