"""What tests share: experiments, processes, faults, made data."""
