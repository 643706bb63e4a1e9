"""From a formula to machine operations at a promised accuracy: rounding, polynomials, guards, and the choice among them.

Nothing here knows LLVM: whatever language computes in machine numbers takes its operations from this room.
"""
