"""The elementwise parts of a layer, in plain torch and fused in Triton.

Imports torch only. Both modules offer the same functions, and tests hold them equal.
"""
