"""Benchmarks, one module each: `add_arguments(parser)`, `prepare(args)` before JAX is imported, `main(args)` -> result
for JSON, `print_table(result)`. Compilation and running are timed apart; rates are medians over repeats.
"""
