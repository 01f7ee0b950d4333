"""The service itself: alignment, validation, batching, computing. It knows no transport, no torch and no settings."""
