"""The HTML report of a run: one offline page, rebuilt from the stored records anywhere. Never loads torch."""
