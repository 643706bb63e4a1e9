"""From machine operations to machine code on the CPU: vector code, ``numpy.ufunc`` objects, rows, threads."""
