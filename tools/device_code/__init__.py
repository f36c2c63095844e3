"""What the compiler makes of the CUDA kernels, judged without a GPU: register spills and instructions."""
