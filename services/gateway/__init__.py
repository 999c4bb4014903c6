"""The gateway: the public API. It checks callers, requests and bounds, and hands answers on as bytes.

It knows nothing of partitions: plans come from the coordinator, facts about graphs from the partition service.
"""
