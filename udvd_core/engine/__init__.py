"""Where the denoising runs: in the caller, in a child process, later on a cluster; one Protocol."""
