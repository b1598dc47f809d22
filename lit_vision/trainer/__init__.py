"""What the Trainer gets here."""
