"""Where commands get activations from: options of harvests, stores, and models without a store."""
