"""Figures and tables from stored results: each module turns ledger rows into a figure and the data plotted."""
