"""The service, whose handlers may go on for a second at a stop: ``module = tests.faults.short_stop:application``."""

import app

app._STOP_SECONDS = 1.0
application = app.create_app()
