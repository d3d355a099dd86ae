"""Tables, plots, pages. Reads stored records only."""
