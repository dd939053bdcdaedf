"""``expander certify``, ``check-certificate``, ``theorems``."""
