"""What the scripts beside this folder do."""
