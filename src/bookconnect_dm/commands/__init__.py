"""The commands, a file for each kind.

In charge of: what each command does: its arguments in, one call, its words out.
Knows about: the modules that do the work.
Does not know: how the command line is put together; `cli` does that.
"""
