"""What torture.py is made of."""
