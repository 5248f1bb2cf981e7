"""What every room may use: files, processors, interrupts, notices; nothing here knows a model."""
