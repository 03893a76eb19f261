"""From examples to gradients: by compiled kernels, or by torch on a GPU."""
