"""The command line: one file a verb, each with `arguments(parser)` and `execute(args)`.

Floor 6. Nothing is imported here and each verb only when it is chosen: `dynallow
status` is typed often and must answer at once.
"""
