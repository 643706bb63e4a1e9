"""Every activation, written once; a file per family."""
