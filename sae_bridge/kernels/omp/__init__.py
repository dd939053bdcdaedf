"""OMP of a batch in lockstep: least squares by its own steps, correlation loops for Triton and plain torch."""
