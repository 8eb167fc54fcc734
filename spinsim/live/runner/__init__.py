"""Everything that touches tensors: loading, slot KV cache, attention, drafting and verification."""
