"""SAEs of one setting, trained and evaluated once, shared by the experiments that compare them."""
