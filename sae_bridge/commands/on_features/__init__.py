"""Commands that look at single features."""
