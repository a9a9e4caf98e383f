"""Drop folders: watch for hints, scan for truth, settle, claim, recover, dispose.

A file is in exactly one place at any moment: in its folder, in `.dropmill/work/`, in `done/` or in `failed/`.
"""
