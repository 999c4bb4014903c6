"""The subjects, each an implementation of `bench.subject.Subject`."""
