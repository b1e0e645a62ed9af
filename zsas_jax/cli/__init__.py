"""What the scripts share: argument types, config files, errors as sentences, the program cache."""
