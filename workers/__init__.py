"""The Celery workers: query workers serve the indexes of one shard; build workers build indexes and check answers."""
