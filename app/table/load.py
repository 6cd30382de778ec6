"""The handlers' module, loaded and checked: when the service starts, and again while somebody works on it."""

import logging
import time
import traceback
from importlib import import_module

from app.errors import ConfigError
from app.table.dispatch import Table

_SLOW_SECONDS = 2.0
logger = logging.getLogger("wechat")


def load(module_name: str) -> Table:
    """Return the table of the module. Raises ConfigError where it cannot be loaded, or its table is wrong."""
    began = time.perf_counter()
    try:
        module = import_module(module_name)
    except Exception as error:  # whatever the module's own code raises
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module_name}.".startswith(f"{missing}."):
            expected = "no such module; expected one that holds HANDLERS"
            raise ConfigError(f"WECHAT_HANDLERS={module_name}: {expected}") from error
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = "" if isinstance(error, SyntaxError) else f" ({last.filename}, line {last.lineno})"  # that says it
        what = f"cannot be loaded: {type(error).__name__}: {error}{where}"
        raise ConfigError(f"WECHAT_HANDLERS={module_name} {what}") from error
    if (seconds := time.perf_counter() - began) > _SLOW_SECONDS:
        said = (
            "WECHAT_HANDLERS=%s took %.1f s to load, at each start of each worker; import what is heavy in the handler"
        )
        logger.warning(said, module_name, seconds)
    if not hasattr(module, "HANDLERS"):
        raise ConfigError(f"WECHAT_HANDLERS={module_name} has no HANDLERS; expected a dict of rows")
    return Table(module.HANDLERS, getattr(module, "MIDDLEWARE", ()))
