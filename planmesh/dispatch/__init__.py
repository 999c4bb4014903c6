"""Transport of work between services and workers: Celery tasks to the workers, replies back on Redis lists."""
