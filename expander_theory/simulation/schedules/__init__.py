"""How many trials each cell gets, decided from outcomes alone."""
