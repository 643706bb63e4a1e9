"""From formulas to machine code on the CPU: mathematics, vector code, ``numpy.ufunc`` objects."""
