"""Graph engine: one step on buffers that stay, captured as a CUDA graph where there is one."""
