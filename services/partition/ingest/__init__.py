"""The rows of a load as they come in: its options, the messages, the spool on disk, and how far it is."""
