"""From published weights to checkpoint directories, and back into memory.

tensors, torch_archive   files of weights, read safely and one tensor at a time
sources, layouts         what a file or directory is: container, layout, network, sizes
described                what config files beside weights add to that
conversion               names and arrays into Flax modules, strictly
convert, vocabulary      a checkpoint directory from the user's files
checkpoint, arrays       writing and loading such directories
hub                      known names, pinned; the cache
inspection, cli          `python -m zsas_jax.weights`
"""
