"""Analyses every unit of a compile_commands.json with the include server of Debian's distcc-pump, and prints what it cost.

Its C extension ends the process at the first call (Python 3.11 wants PY_SSIZE_T_CLEAN), so the few functions of it that
the analysis needs stand here: the path functions of libc and of Python, and no compression, which spares it work.
"""

import ctypes
import json
import os
import resource
import shlex
import sys
import types

LIBC = ctypes.CDLL(None)
LIBC.realpath.restype = ctypes.c_void_p
LIBC.free.argtypes = [ctypes.c_void_p]


def realpath(path):
    """As the extension's: the path itself where there is no such file."""
    resolved = LIBC.realpath(os.fsencode(path), None)
    if not resolved:
        return path
    text = os.fsdecode(ctypes.string_at(resolved))
    LIBC.free(resolved)
    return text


def stand_in():
    module = types.ModuleType("distcc_pump_c_extensions")
    module.Realpath = realpath
    module.OsPathExists = os.path.exists
    module.OsPathIsFile = os.path.isfile
    module.CompressLzo1xAlloc = lambda text: text.encode("latin-1")
    return module


def processor_seconds():
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main():
    sys.path.insert(0, "/usr/lib/python3/dist-packages/include_server")
    extension = stand_in()
    sys.modules[extension.__name__] = extension
    import basics
    import include_analyzer_memoizing_node

    with open(sys.argv[1], encoding="utf-8") as file:
        entries = json.load(file)
    keeper = basics.ClientRootKeeper()
    keeper.ClientRootMakedir(1)
    analyzer = include_analyzer_memoizing_node.IncludeAnalyzerMemoizingNode(keeper)
    reasons = {}
    before = processor_seconds()
    for entry in entries:
        argv = entry.get("arguments") or shlex.split(entry["command"])
        os.chdir(entry["directory"])
        analyzer.timer = basics.IncludeAnalyzerTimer()
        try:
            analyzer.DoCompilationCommand(argv, entry["directory"], keeper)
        except basics.NotCoveredError as error:
            reason = str(error.args[0]) if error.args else "unknown"
            reasons[reason] = reasons.get(reason, 0) + 1
        finally:
            analyzer.timer.Cancel()
    milliseconds = (processor_seconds() - before) * 1000
    keeper.CleanOutClientRoots()
    json.dump({"units": len(entries), "cpu_ms": milliseconds, "not_covered": sum(reasons.values())}, sys.stdout)
    print(*(f"{count}: {reason}" for reason, count in reasons.items()), sep="\n", file=sys.stderr)


main()
