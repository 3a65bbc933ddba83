"""The comparison: attack × detector × seed × rate through the product's own run folders, and its tables."""
