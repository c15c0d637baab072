"""What every other folder may use: types, errors, files, machine, signals, one statistic. Imports nothing of ours."""
