"""What a totalVI encoder is: read from a scvi-tools save, compiled, stored, loaded, run. torch lives here only."""
