"""What the service is compared with, each a process of its own."""
