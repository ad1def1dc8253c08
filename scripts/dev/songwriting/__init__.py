"""How the project's own training set is written: sources read, pieces composed, files made."""
