"""Everything between a folder or a CSV and the manifest: opens every file, finds odd ones, and assigns splits."""
