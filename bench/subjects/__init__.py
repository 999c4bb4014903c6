"""The subjects, each behind `bench.subject.Subject`."""
