"""Whatever the bytes are: every parser of untrusted bytes answers with a value or one of OpsError's classes, and soon.

`corpus` makes honest objects, `mutate` bends them, `targets` are the parsers with what must hold of each answer, and
`guard` looks at one answer. `python -m tests.fuzz` searches for a bounded time (`make fuzz`); `test_fuzz.py` asks the
same of a few fixed inputs on every run of the tests.
"""
