"""Fixed points x = g(x) of any map: a problem of its own, its methods one a file, all run by the driver."""
