"""Code shared by tests: experiments, processes, faults and generated data."""
