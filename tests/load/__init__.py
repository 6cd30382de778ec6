"""Many slow conversations at once (`load.py`), or while the service starts (`start.py`): is each fan answered once?"""
