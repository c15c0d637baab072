"""Many runs from one file: grids, random and tuned searches, and the scaling study."""
