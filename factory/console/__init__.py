"""What a command speaks with: words, options, progress, signals, configurations; knows no job."""
