"""What the service costs, in ratios within one run: `make bench`. docs/performance.md explains the rows."""
