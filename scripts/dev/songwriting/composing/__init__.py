"""Composing: phrases over progressions, and the forms that are made of them."""
