"""The data modules, one for each kind of data set."""
