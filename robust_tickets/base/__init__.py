"""What every package may use: errors, ledger, progress, signals, machine; free of torch until it is used."""
