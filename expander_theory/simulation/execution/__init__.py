"""Where blocks of trials run, and in which order."""
