"""What can be wrong with a model file."""

from __future__ import annotations


class ModelFileError(Exception):
    """A save or an artifact cannot be used. The message is one line for a person: what is wrong and what to do."""
