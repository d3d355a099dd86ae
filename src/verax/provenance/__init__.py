"""Where a picture comes from: Content Credentials read, kept and signed, or said in words."""
