"""The server around a totalVI encoder."""
