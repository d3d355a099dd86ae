"""Many pairs of photo and edit: tables in; registered, cropped pairs with reasons out."""
