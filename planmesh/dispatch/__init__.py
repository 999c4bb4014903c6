"""How work travels between services and workers: Celery tasks out, replies back on Redis lists."""
