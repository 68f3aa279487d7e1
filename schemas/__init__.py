"""What is stored and what a configuration may say; no behaviour beyond checks and canonical bytes."""
