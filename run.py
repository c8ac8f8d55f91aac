"""SimCLR and SimCLRv2 on the command line: `python run.py --help`."""

import sys

from tf_simclr.commands.program import leave, main

if __name__ == "__main__":
    leave(main(sys.argv))
