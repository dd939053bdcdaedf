"""What is proved for single supports: rigorous bounds of the exact recovery coefficient, uniqueness, both for codes."""
