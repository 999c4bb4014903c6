"""The gateway: the public API. It checks callers, requests and bounds, and forwards answers as bytes.

It does not know partitions: plans come from the coordinator, facts about graphs from the partition service.
"""
