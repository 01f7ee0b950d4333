"""How many replicas a load needs: a queueing model, a simulation of it, and runs that it is held against."""
