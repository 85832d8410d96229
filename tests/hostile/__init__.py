"""What must not happen, whatever is given: each test is one bad input, through the command line and the library."""
