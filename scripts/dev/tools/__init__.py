"""The commands of the scripts in scripts/dev/."""
