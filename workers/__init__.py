"""The Celery workers: query workers hold the indexes of one shard, build workers make indexes."""
