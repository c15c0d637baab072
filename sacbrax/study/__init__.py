"""Many runs as one measurement: scaling over environments, batch sizes and updates, with its figures and report."""
