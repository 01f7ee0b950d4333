"""The REST transport: a thin codec between HTTP and `service.core`."""
