"""Results folders, which comparisons and jobs share: durable lines, and reading, merging and exporting them."""
